"""``twistd mailclient``: compose a message at the terminal, or take it from a pipe, and send it.

Wiring only. Unlike other twistd plugins this one stays in the foreground, writes no pid file, and keeps Twisted's log
out of the dialogue: twistd redirects C{sys.stdout} and C{sys.stderr} to the log, so people are spoken to through
C{sys.__stdout__} and C{sys.__stderr__}. What cannot work is told in one line, with an exit status of C{sysexits.h}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO, cast

import attrs
from twisted.application.service import IService
from twisted.internet.base import ReactorBase
from twisted.internet.defer import succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, LogPublisher
from twisted.python import usage

from mailagent.compose import exit_status
from mailagent.compose.account import PROMPTS, Account, NoPassword, password_by, password_in
from mailagent.compose.address_book import AddressBook
from mailagent.compose.attachment import Attachment
from mailagent.compose.conversation import Conversation
from mailagent.compose.correspondent import BadAddress, Correspondent, parse_correspondent, parse_correspondents
from mailagent.compose.dialogue import Dialogue
from mailagent.compose.draft_folder import DraftFolder
from mailagent.compose.given import Given
from mailagent.compose.netrc_file import login_in
from mailagent.compose.prompt import TerminalPrompter
from mailagent.compose.protection import default_port, protection
from mailagent.compose.resume import BadDraft, Kept, read_draft
from mailagent.compose.server import Server
from mailagent.compose.slow_server import SlowServer
from mailagent.compose.submit import Submission
from mailagent.compose.teller import Teller, plain_or_terminal
from mailagent.compose.this_host import host_name, user_at
from mailagent.envelope.printable import printable
from mailagent.log import observer
from mailagent.smtp.client_tls import ClientTLS, verified
from mailagent.smtp.sender import Sender

#: Options that say where the password is; without any of them it is asked for.
_SOURCES = ("password-file", "password-command", "netrc")


class Options(usage.Options):
    """The command line of ``twistd mailclient``."""

    synopsis = "[options]"
    longdesc = (
        "Sends one message. On a terminal, what the options leave open is asked for. "
        "Otherwise --to is needed and the text is read from standard input."
    )
    optParameters = [
        ["server", "s", "127.0.0.1", "Submit to HOST[:PORT]; an IPv6 address as [ADDRESS]:PORT."],
        ["user", "u", None, "Log in as this user; the password is asked for on a terminal."],
        ["password-file", None, None, "Take the password from the first line of this file."],
        ["password-command", None, None, "Take the password from the first line that this command writes."],
        ["netrc", None, None, "Take the password, and the user if none is given, from the server's line in this file."],
        ["tls", None, "auto", "Protect the session: auto, starttls, implicit or none."],
        ["tls-ca", None, None, "Trust the certificate authorities in this file (PEM) instead of the system's."],
        ["from", "f", None, "The sender's address (default: you at this host)."],
        ["subject", None, None, "The subject (asked for on a terminal)."],
        ["body", "b", None, "Read the text from this file, UTF-8."],
        ["resume", "r", None, "Send this kept draft; what other options say goes before what it says."],
        ["log", None, None, "Write a log to this file."],
    ]
    compData = usage.Completions(
        optActions={
            option: usage.CompleteFiles() for option in ("body", "log", "netrc", "resume", "password-file", "tls-ca")
        }
    )

    def __init__(self) -> None:
        super().__init__()
        for field in ("to", "cc", "bcc", "attach"):
            self[field] = ()

    def opt_to(self, addresses: str) -> None:
        """Send to these addresses, separated by ; or , (repeatable)."""
        self["to"] += _addresses(addresses)

    def opt_cc(self, addresses: str) -> None:
        """Send a copy to these addresses (repeatable)."""
        self["cc"] += _addresses(addresses)

    def opt_bcc(self, addresses: str) -> None:
        """Send a copy to these addresses, and do not tell the others (repeatable)."""
        self["bcc"] += _addresses(addresses)

    def opt_attach(self, file: str) -> None:
        """Attach this file (repeatable)."""
        try:
            self["attach"] += (Attachment.of_file(Path(file)),)
        except OSError as error:
            raise usage.UsageError(f"--attach: {file}: {error.strerror}") from None

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, or leave with one line and C{EX_USAGE}: twistd itself would print the whole usage."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            _leave_saying(os.EX_USAGE, str(error))

    def postOptions(self) -> None:
        """Make sense of the values, and set up twistd for a program in the foreground."""
        try:
            server = self["server"] = Server.parse(self["server"], default_port(self["tls"]))
        except ValueError as error:
            raise usage.UsageError(f"--server: {error}") from None
        login = self["user"] is not None or self["netrc"] is not None
        try:
            self["protection"] = protection(self["tls"], server.host, server.port, login)
        except ValueError as error:
            raise usage.UsageError(f"--tls: {error}") from None
        sources = [option for option in _SOURCES if self[option] is not None]
        if len(sources) > 1:
            raise usage.UsageError(f"--{sources[0]} and --{sources[1]} exclude each other")
        if sources and not login:
            raise usage.UsageError(f"--{sources[0]} goes with --user")
        if self["from"] is not None:
            try:
                self["from"] = parse_correspondent(self["from"])
            except BadAddress as error:
                raise usage.UsageError(f"--from: {error}") from None
        if self.parent is not None:
            self["log"] = self["log"] or self.parent.get("logfile")
            self.parent.update(nodaemon=True, pidfile="", no_save=True)


def makeService(options: Options) -> IService:
    """The service that does it. Leaves at once where something it needs is missing."""
    from twisted.internet import reactor as installed

    reactor = cast(ReactorBase, installed)
    log = _observer(options["log"])
    host = host_name()
    terminal = _terminal()
    tls = _tls(options)
    given = _given(options, host, interactive=terminal is not None)
    book = AddressBook.of_user(os.environ)
    prompter = None
    if terminal is not None:
        prompter = TerminalPrompter(reactor, cast(TextIO, sys.__stdin__), terminal, book.earlier())
        reactor.addSystemEventTrigger("after", "shutdown", prompter.release)
    teller = plain_or_terminal(terminal, _stream(sys.__stdout__), _stream(sys.__stderr__))
    account = _account(options, reactor, prompter, teller)
    server: Server = options["server"]
    watch = SlowServer(str(server), reactor, teller.hint).watch

    async def connect() -> Sender:
        session = partial(server.session, reactor, host, tls, watch)
        return await (session(None) if account is None else account.session(session))

    dialogue = Dialogue(
        given,
        Submission(connect),
        DraftFolder.of_user(os.environ),
        reactor,
        teller,
        book,
        prompter,
    )
    return cast(IService, Conversation(reactor, dialogue.run, _leave, os.EX_SOFTWARE, log))


def _tls(options: Options) -> ClientTLS | None:
    if options["protection"] == "none":
        return None
    host, authorities = options["server"].host, options["tls-ca"]
    try:
        creator = verified(host, Path(authorities) if authorities is not None else None)
    except OSError as error:
        _leave_saying(os.EX_NOINPUT, f"--tls-ca: {authorities}: {error.strerror}")
    except ValueError as error:
        _leave_saying(os.EX_USAGE, f"--tls-ca: {authorities}: {error}" if authorities else f"--server: {error}")
    return ClientTLS(creator, implicit=options["protection"] == "implicit")


def _account(
    options: Options, reactor: ReactorBase, prompter: TerminalPrompter | None, teller: Teller
) -> Account | None:
    user, password = _login(options)
    if user is None:
        return None
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    if password is not None:
        return Account(user, partial(succeed, password), in_thread)
    if prompter is None:
        sources = ", ".join(f"--{option}" for option in _SOURCES)
        _leave_saying(os.EX_USAGE, f"--user needs one of {sources} where nobody can be asked")
    ask = partial(prompter.ask_password, f"Password of {printable(user)}: ")
    return Account(user, ask, in_thread, PROMPTS, teller.complain)


def _login(options: Options) -> tuple[str | None, str | None]:
    """User and password, as far as they are known. The reactor does not run yet, so that this may take its time."""
    source = next((option for option in _SOURCES if options[option] is not None), None)
    try:
        if source == "netrc":
            return login_in(Path(options[source]), options["server"].host, options["user"])
        if source == "password-file":
            return options["user"], password_in(Path(options[source]))
        if source == "password-command":
            return options["user"], password_by(options[source])
        return options["user"], None
    except NoPassword as error:
        _leave_saying(os.EX_NOINPUT, f"--{source}: {error}")
    except KeyboardInterrupt:
        _leave_saying(exit_status.CANCELLED, "Cancelled: nothing was sent.")


def _terminal() -> TextIO | None:
    """Where to talk to the person at standard input, if there is one."""
    if sys.__stdin__ is None or not sys.__stdin__.isatty():
        return None
    return next((_stream(stream) for stream in (sys.__stdout__, sys.__stderr__) if stream and stream.isatty()), None)


def _stream(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream


def _given(options: Options, host: str, interactive: bool) -> Given:
    given = _resumed(options)
    if given.sender is None and (host or not interactive):
        given = attrs.evolve(given, sender=user_at(host or "localhost"))
    if not interactive and given.sender is None:
        _leave_saying(os.EX_USAGE, "--from is needed: this user and host make no address")
    if not interactive and not (given.to or given.cc or given.bcc):
        _leave_saying(os.EX_USAGE, "--to is needed when standard input is not a terminal")
    if options["body"] is not None or (not interactive and given.body is None):
        given = attrs.evolve(given, body=_body(options["body"]))
    return given


def _resumed(options: Options) -> Given:
    """What the options say; where they say nothing, what the draft says."""
    groups = options["to"], options["cc"], options["bcc"]
    said = Given(options["from"], *groups, options["subject"], attachments=options["attach"])
    if options["resume"] is None:
        return said
    path = Path(options["resume"])
    return said.resuming(_kept(path), path)


def _kept(path: Path) -> Kept:
    try:
        return read_draft(path)
    except OSError as error:
        _leave_saying(os.EX_NOINPUT, f"--resume: {path}: {error.strerror}")
    except BadDraft as error:
        _leave_saying(os.EX_DATAERR, f"--resume: {path}: {error}")


def _body(path: str | None) -> str:
    """The text from a file, or from standard input. The reactor does not run yet, so that this may take its time."""
    try:
        with open(path or 0, "rb", closefd=path is not None) as file:
            return file.read().decode("utf-8")
    except OSError as error:
        _leave_saying(os.EX_NOINPUT, f"{path or 'standard input'}: {error.strerror}")
    except UnicodeDecodeError:
        _leave_saying(os.EX_DATAERR, f"{path or 'standard input'} is not UTF-8 text")
    except KeyboardInterrupt:
        _leave_saying(exit_status.CANCELLED, "Cancelled: nothing was sent.")


def _addresses(text: str) -> tuple[Correspondent, ...]:
    try:
        return parse_correspondents(text)
    except BadAddress as error:
        raise usage.UsageError(str(error)) from None


def _observer(log: str | None) -> ILogObserver:
    if log is None:
        nobody: ILogObserver = LogPublisher()
        return nobody
    try:
        return observer("text", log)
    except OSError as error:
        _leave_saying(os.EX_CANTCREAT, f"--log: {log}: {error.strerror}")


def _leave_saying(status: int, complaint: str) -> NoReturn:
    print(f"twistd mailclient: {complaint}", file=sys.__stderr__)
    raise SystemExit(status)


def _leave(status: int) -> None:
    """End the process now: no thread that waits at the terminal may hold it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError):
            if stream is not None:
                stream.flush()
    os._exit(status)
