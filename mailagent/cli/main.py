"""The C{mailagent} command.

Exit statuses: 0 done, 1 not done (one line on standard error says why), 2 wrong use. A secret is never an argument.
"""

from __future__ import annotations

import click

from mailagent import __version__
from mailagent.cli.directory import alias, host
from mailagent.cli.nodes import nodes
from mailagent.cli.queue import queue
from mailagent.cli.queue_move import move
from mailagent.cli.reload import reload
from mailagent.cli.sendmail import sendmail
from mailagent.cli.tls import tls
from mailagent.cli.user import user


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mailagent")
def main() -> None:
    """Look after a mailagent server.

    The server itself is "twistd mailagent", the mail client "twistd mailclient".
    """


main.add_command(alias)
main.add_command(host)
main.add_command(nodes)
main.add_command(queue)
queue.add_command(move)
main.add_command(reload)
main.add_command(sendmail)
main.add_command(tls)
main.add_command(user)
