"""C{mailagent sendmail}, also C{mailagent-sendmail}: what cron, git and PHP call C{sendmail}.

The message goes to the server over its local socket; if that fails, into its drop. Exit statuses are those of
C{sysexits.h}: 0 the server has it, or will; 64 wrong use; 65 not a message; 67 no such recipient; 69 refused; 75 try
again; 78 the configuration.
"""

from __future__ import annotations

import os
import pwd
import sys
import time
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any

import attrs
import click

from mailagent.cli.options import config_option
from mailagent.config import Config, ConfigError, load
from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Outcome
from mailagent.sendmail.drop import leave
from mailagent.sendmail.message import Message, UnfitMessage, read_message
from mailagent.sendmail.recipients import NotAnAddress, address
from mailagent.sendmail.submit import Submitted, submit
from mailagent.smtp.batch import MAX_RECIPIENTS
from mailagent.smtp.xtext import MAX_ENVELOPE_ID, encode_xtext
from mailagent.state import DROP, SUBMIT_SOCKET

_USAGE, _BAD_MESSAGE, _NO_USER, _UNAVAILABLE, _TRY_AGAIN, _BAD_CONFIG = 64, 65, 67, 69, 75, 78
#: What a command's decorators pass on.
_Command = Callable[..., None]
_CONDITIONS = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_OTHER_MODES = {
    "s": "to speak SMTP, connect to the server's listener",
    "d": 'the server is "twistd mailagent"',
    "D": 'the server is "twistd mailagent"',
    "i": "aliases are in the configuration, and taken up by: mailagent reload",
    "v": "addresses are checked by the server alone",
    "t": "there is no test mode; mailagent queue shows what waits",
}


class Failed(click.ClickException):
    """The message was not taken; C{exit_code} is a status of C{sysexits.h}."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.exit_code = status  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Tell why, under the name by which programs know us."""
        click.echo(f"sendmail: {self.message}", err=True)


class _Sendmail(click.Command):
    """A command whose wrong use has the status that those who call C{sendmail} know."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.exit_code = _USAGE  # type: ignore[misc]
            raise


def _ignored(*names: str, value: bool = False) -> Callable[[_Command], _Command]:
    """An option of other implementations that changes nothing here."""
    return click.option(*names, is_flag=not value, expose_value=False, hidden=True, help="Ignored.")


@click.command(cls=_Sendmail, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipients", nargs=-1, metavar="[RECIPIENT]...")
@click.option("-t", "from_header", is_flag=True, help="Take recipients from To, Cc and Bcc too.")
@click.option("-i", "ignore_dot", is_flag=True, help="A line with nothing but a dot does not end the message.")
@click.option("-o", "settings", multiple=True, metavar="OPTION", help="-oi is -i; others are ignored.")
@click.option("-f", "-r", "sender", metavar="ADDRESS", help="The envelope's sender; <> is the null one.")
@click.option("-F", "full_name", metavar="NAME", help="For the From field, where the message has none.")
@click.option("-N", "notify", metavar="CONDITIONS", help="never, or some of success,failure,delay (RFC 3461).")
@click.option(
    "-R", "returned", type=click.Choice(["full", "hdrs"], case_sensitive=False), help="What a bounce returns."
)
@click.option("-V", "envelope_id", metavar="ID", help="Your name for the message, told in reports.")
@click.option("-v", "verbose", is_flag=True, help="Say what becomes of each recipient.")
@click.option("-b", "mode", metavar="MODE", default="m", help="-bm sends, as without; -bp lists the queue.")
@click.option("-q", "run_queue", is_flag=False, flag_value="", metavar="[TIME]", help="Nothing: the server does it.")
@click.option(
    "--state", metavar="DIRECTORY", help="The server's state directory, where its configuration names another."
)
@_ignored("-n")
@_ignored("-m")
@_ignored("-U")
@_ignored("-G")
@_ignored("-e", value=True)
@_ignored("-B", value=True)
@_ignored("-O", value=True)
@_ignored("-L", value=True)
@_ignored("-A", value=True)
@_ignored("-p", value=True)
@config_option
def sendmail(mode: str, run_queue: str | None, config: str | None, **given: Any) -> None:
    """Send the message on standard input.

    It goes to the server on this machine, or is left for it while it does not run. Exit status 75: neither was
    possible, try again.
    """
    if mode == "p":
        from mailagent.cli.queue import list_items

        click.get_current_context().invoke(list_items, config=config, state_directory=given["state"], as_json=False)
    elif mode != "m":
        raise Failed(f"-b{mode} is not known: {_OTHER_MODES.get(mode, 'only -bm and -bp are')}", _USAGE)
    elif run_queue is not None:
        click.echo("sendmail: the server tries by itself; mailagent queue retry hastens it", err=True)
    else:
        _send(_configuration(config), Wishes(**given))


@attrs.frozen
class Wishes:
    """What the options say of a message."""

    recipients: Sequence[str]
    from_header: bool
    ignore_dot: bool
    settings: Sequence[str]
    sender: str | None
    full_name: str | None
    notify: str | None
    returned: str | None
    envelope_id: str | None
    verbose: bool
    state: str | None


def _configuration(path: str | None) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        raise Failed(str(error), _BAD_CONFIG) from None


def _send(config: Config, wishes: Wishes) -> None:
    try:
        message = read_message(
            sys.stdin.buffer,
            dot_ends=not (wishes.ignore_dot or "i" in wishes.settings),
            largest=config.limits.message_size,
            largest_header=config.limits.header_size,
        )
        envelope, message = _addressed(config, wishes, message)
    except (UnfitMessage, NotAnAddress) as error:
        raise Failed(str(error), _BAD_MESSAGE) from None
    except OSError as error:
        raise Failed(f"the message cannot be read: {error.strerror}", _TRY_AGAIN) from None
    state = os.path.abspath(wishes.state) if wishes.state else config.state
    submitted = _submit(os.path.join(state, SUBMIT_SOCKET), config.hostname, envelope, message)
    rest = submitted.undecided(envelope)
    if rest is not None:
        _leave(os.path.join(state, DROP), rest, message, submitted.trouble or "the server takes no mail now")
    _tell(submitted, envelope, wishes.verbose)
    if submitted.refused:
        sys.exit(_status(submitted.refused))


def _addressed(config: Config, wishes: Wishes, message: Message) -> tuple[Envelope, Message]:
    """The envelope, and the message as recipients will see it."""
    domain = _domain(config)
    recipients = [address(text, domain) for word in wishes.recipients for text in word.split(",") if text.strip()]
    if wishes.from_header:
        recipients += message.header.recipients(domain)
    if len(recipients) > MAX_RECIPIENTS:
        raise Failed(f"more than {MAX_RECIPIENTS} recipients", _USAGE)
    if len(encode_xtext(wishes.envelope_id or "")) > MAX_ENVELOPE_ID:
        raise Failed(f"-V takes at most {MAX_ENVELOPE_ID} characters, some of which count threefold", _USAGE)
    if not recipients:
        raise Failed("no recipients" + ("" if wishes.from_header else "; -t takes them from the header"), _USAGE)
    author = Address(_user().pw_name, domain)
    sender = author if wishes.sender is None else _sender(wishes.sender, domain)
    full_name = _user().pw_gecos.partition(",")[0] if wishes.full_name is None and not wishes.sender else ""
    header = message.header.without_bcc().with_author(sender or author, wishes.full_name or full_name)
    asked = Notify(_conditions(wishes.notify)) if wishes.notify else None
    envelope = Envelope(
        sender,
        tuple(dict.fromkeys(recipients)),
        size=message.size + len(bytes(header)) + 1,
        eight_bit=message.eight_bit or not bytes(header).isascii(),
        utf8_header=not bytes(header).isascii(),
        returned=wishes.returned.upper() if wishes.returned else None,
        envelope_id=wishes.envelope_id or None,
        notify=dict.fromkeys(recipients, asked) if asked else {},
    )
    return envelope, attrs.evolve(message, header=header)


def _sender(text: str, domain: str) -> Address | None:
    return None if text.strip() in ("", "<>") else address(text, domain)


def _conditions(text: str) -> frozenset[str]:
    words = frozenset(text.upper().split(","))
    if words != {"NEVER"} and not words <= _CONDITIONS:
        raise Failed(f"-N {text}: never, or some of success,failure,delay", _USAGE)
    return words


def _domain(config: Config) -> str:
    """That of bare names: this host's where mail for it is ours, else the first of our hosts."""
    ours = [*config.whitelist.hosts, *config.hosts]
    return config.hostname if config.hostname in ours or not ours else ours[0]


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return pwd.struct_passwd((str(os.getuid()), "", os.getuid(), os.getgid(), "", "", ""))


def _submit(socket: str, name: str, envelope: Envelope, message: Message) -> Submitted:
    """Run the reactor for as long as it takes."""
    from twisted.internet import reactor as global_reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import UNIXClientEndpoint

    reactor: Any = global_reactor
    results: list[Any] = []

    def begin() -> None:
        trying = submit(lambda: UNIXClientEndpoint(reactor, socket), reactor, name, envelope, message)
        Deferred.fromCoroutine(trying).addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if results and isinstance(results[0], Submitted):
        return results[0]
    return Submitted(trouble=str(results[0].value) if results else "interrupted")


def _leave(drop: str, envelope: Envelope, message: Message, trouble: str) -> None:
    try:
        leave(drop, envelope, message.blocks(), f"{time.time_ns():020d}.{token_hex(16)}")
    except OSError as error:
        text = f"{trouble}; and it cannot be left in {drop}: {error.strerror}"
        raise Failed(text, _TRY_AGAIN) from None


def _tell(submitted: Submitted, envelope: Envelope, verbose: bool) -> None:
    for outcome in submitted.outcomes:
        if outcome.failed or verbose:
            click.echo(f"sendmail: {outcome.recipient}: {_told(outcome)}", err=True)
    if verbose and not submitted.outcomes:  # nobody was asked
        for recipient in envelope.recipients:
            click.echo(f"sendmail: {recipient}: left for the server ({submitted.trouble})", err=True)


def _told(outcome: Outcome) -> str:
    return f"left for the server ({outcome.reply})" if outcome.deferred else str(outcome.reply)


def _status(refused: Sequence[Outcome]) -> int:
    """That no such mailbox exists, where that is all there is to say."""
    return _NO_USER if all(each.reply.status.startswith("5.1.") for each in refused) else _UNAVAILABLE
