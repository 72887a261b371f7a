"""C{mailagent reload}: have the running server read its configuration again."""

from __future__ import annotations

import os
import signal

import click

from mailagent.cli.options import config_option, configuration
from mailagent.state import PidFile


@click.command()
@config_option
@click.option(
    "--state", metavar="DIRECTORY", help="The server's state directory, where its configuration names another."
)
def reload(config: str | None, state: str | None) -> None:
    """Have the running server take up users, hosts, aliases, limits and certificates.

    No session is dropped. The configuration is checked first (with --state only where --config names it); the server's
    log says what changed, and what waits for a restart.
    """
    directory = os.path.abspath(state) if state else None
    if config or directory is None:
        found = configuration(config)
        directory = directory or found.state
    try:
        number = PidFile(directory).running()
        if number is None:
            raise click.ClickException(f"no server runs with the state directory {directory}")
        os.kill(number, signal.SIGHUP)
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory}: {error.strerror}") from None
    click.echo(f"told server {number} to reload; its log says what changed")
