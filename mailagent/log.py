"""The event vocabulary: one structured event per fact, and how events are written.

Every event has a name (C{event}) and facts; nothing in an event is message content. A peer's strings are
escaped in the readable form; in JSON the encoding does it.
"""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import IO, Any, cast

import attrs
from constantly import NamedConstant
from twisted.logger import FileLogObserver, InvalidLogLevelError, LogEvent, Logger, LogLevel, formatEvent

from mailagent.envelope.printable import printable
from mailagent.log_sinks import FileSink, PipeSink, RotatingFile
from mailagent.log_stream import LogStream

#: Longest peer-given string that goes into an event; the rest is cut off.
_MAX_FACT = 512
FORMATS = ("text", "json")
#: What is told: what happens, or also what is said to other servers, and their replies.
LEVELS = ("info", "debug")


def _bounded(text: str) -> str:
    """A peer's text as it goes into an event: printable, and not too much of it."""
    if len(text) > _MAX_FACT:
        text = text[: _MAX_FACT - 1] + "…"
    return printable(text)


class _Listed(list[object]):
    """Several facts under one name: a list in JSON, a row with commas in text."""

    def __str__(self) -> str:
        return ", ".join(map(str, self))


def _fact(value: object) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, list | tuple):
        return _Listed(map(_fact, value))
    return _bounded(str(value))


@attrs.frozen
class Event:
    """A kind of fact. Call it with a logger and the facts to record one."""

    name: str
    format: str
    level: NamedConstant = LogLevel.info

    def __call__(self, log: Logger, **facts: object) -> None:
        """Emit the event. Facts that are neither numbers nor lists of facts are told as printable text."""
        safe = {key: _fact(value) for key, value in facts.items()}
        log.observer(  # what C{log.emit} does, and in half the time, for it would check the level first
            {
                **safe,
                "event": self.name,
                "log_logger": log,
                "log_level": self.level,
                "log_namespace": log.namespace,
                "log_source": log.source,
                "log_format": self.format,
                "log_time": time.time(),
            }
        )


LISTENING = Event("listening", "listening on {address}")
CONNECTED = Event("connected", "{peer} connected")
CLIENT_TOLD = Event("client_told", "{proxy} speaks for {peer}")
DISCONNECTED = Event("disconnected", "{peer} disconnected after {seconds:.1f} s: {reason}")
COMMAND_REFUSED = Event("command_refused", "{peer} {command}: {reply}")
RECIPIENT_ACCEPTED = Event("recipient_accepted", "{id} recipient <{recipient}> accepted from <{sender}>")
RECIPIENT_REFUSED = Event("recipient_refused", "{id} recipient <{recipient}> refused from <{sender}>: {reply}")
MESSAGE_STORED = Event(
    "message_stored", "{id} stored from <{sender}> for {recipients}, {size} octets in {seconds:.3f} s"
)
MESSAGE_ABANDONED = Event("message_abandoned", "{id} from <{sender}> for {recipients} not received whole")
MESSAGE_FAILED = Event("message_failed", "{id} not stored from <{sender}> for {recipients}: {reason}", LogLevel.error)
DROP_TAKEN = Event("drop_taken", "{id} taken from the drop, of {user}, from <{sender}> for {recipients}, {size} octets")
DROP_REFUSED = Event("drop_refused", "{file} in the drop set aside: {reason}", LogLevel.error)
MAILBOX_UNWRITABLE = Event("mailbox_unwritable", "mailbox {mailbox} cannot be written: {reason}", LogLevel.error)
MAILBOX_RECOVERED = Event("mailbox_recovered", "mailbox {mailbox} can be written again")
COMMAND_SENT = Event("command_sent", "sent: {command}", LogLevel.debug)
REPLY_RECEIVED = Event("reply_received", "received: {reply}", LogLevel.debug)
LEFTOVERS_REMOVED = Event("leftovers_removed", "removed {count} left-over files from {mailbox}/tmp")
CERTIFICATE_RENEWED = Event("certificate_renewed", "new certificate from {certificate}, valid until {until}")
CERTIFICATE_KEPT = Event(
    "certificate_kept",
    "new certificate not usable, the one from before stays (valid until {until}): {reason}",
    LogLevel.error,
)
LOGIN_SUCCEEDED = Event("login_succeeded", "{peer} logged in as {name} by {mechanism}")
LOGIN_FAILED = Event("login_failed", "{peer} failed to log in as {name} by {mechanism}: {reply}")
USERS_READ = Event("users_read", "users file {path} read: {users} users")
DIRECTORY_READ = Event("directory_read", "directory read: hosts {hosts}, users {users}, aliases {aliases}")
DIRECTORY_EMPTY = Event(
    "directory_empty",
    "no host is in the directory, so that mail for everybody has to wait; `mailagent host add` adds one",
    LogLevel.warn,
)
DIRECTORY_TROUBLE = Event(
    "directory_trouble", "the directory's database cannot be read, {meanwhile}: {reason}", LogLevel.error
)
DIRECTORY_RECOVERED = Event("directory_recovered", "the directory's database can be read again")
DIRECTORY_SET_ASIDE = Event("directory_set_aside", "{what} in the directory set aside: {reason}", LogLevel.error)
RECIPIENT_QUARANTINED = Event(
    "recipient_quarantined", "{id} set aside, its row in the queue cannot be read: {reason}", LogLevel.error
)
TLS_GIVEN_UP = Event(
    "tls_given_up", "{host} [{address}] is sent to without TLS for an hour, as its TLS fails: {reason}", LogLevel.warn
)
RECIPIENT_DELIVERED = Event(
    "recipient_delivered", "{id} delivered to <{recipient}> by {host} after {delay:.1f} s: {reply}"
)
RECIPIENT_DEFERRED = Event(
    "recipient_deferred", "{id} deferred for <{recipient}> by {host}, attempt {attempts}, {delay:.1f} s old: {reply}"
)
RECIPIENT_FAILED = Event(
    "recipient_failed", "{id} failed for <{recipient}> by {host} after {delay:.1f} s: {reply}", LogLevel.warn
)
RECIPIENT_EXPIRED = Event(
    "recipient_expired",
    "{id} given up for <{recipient}> after {attempts} attempts, {delay:.1f} s: {reply}",
    LogLevel.warn,
)
REPORT_QUEUED = Event("report_queued", "{id} report {report} queued for <{recipient}>")
DESTINATION_HELD = Event("destination_held", "nothing is tried at {destination} for {seconds:.1f} s")
LEASE_LOST = Event(
    "lease_lost", "{id} for {destination} has been taken up by another: nothing is written down", LogLevel.warn
)
TRANSACTION_ENDED = Event(
    "transaction_ended",
    "{address} fell silent in the middle of a transaction: ended, it kept others waiting",
    LogLevel.warn,
)
CLOCK_DIFFERS = Event(
    "clock_differs",
    "this machine's clock is {seconds:+.0f} s from the database's, by which the queue goes; trace fields go by it",
    LogLevel.error,
)
NODE_ID_TAKEN = Event(
    "node_id_taken",
    "another process says it is this node, {id}: its state directory is a copy of ours, or ours of that one. This one "
    "is {new} until it ends; remove the file 'node' from its state directory before it starts again",
    LogLevel.error,
)
QUEUE_TROUBLE = Event(
    "queue_trouble", "the queue's database cannot be {verb}, what needs it waits: {reason}", LogLevel.error
)
QUEUE_RECOVERED = Event("queue_recovered", "the queue's database can be {verb} again")
WORKER_STARTED = Event("worker_started", "worker {worker} serves, process {pid}")
WORKER_ENDED = Event("worker_ended", "worker {worker} (process {pid}) has ended: {status}", LogLevel.error)
WORKER_HUNG = Event(
    "worker_hung", "worker {worker} (process {pid}) has not been heard of for {seconds:g} s: killed", LogLevel.error
)
ERROR = Event("error", "{what}: {reason}", LogLevel.error)
RELOADED = Event("reloaded", "reloaded {source}, changed: {changed}")
RESTART_NEEDED = Event("restart_needed", "changed, and taken up by a restart only: {settings}", LogLevel.warn)
RELOAD_REFUSED = Event("reload_refused", "nothing reloaded: {reason}", LogLevel.error)
STOPPING = Event("stopping", "stopping: {sessions} open, {busy} in a transaction, at most {seconds:g} s")
STOPPED = Event("stopped", "stopped")
LOG_LOST = Event("log_lost", "{count} lines of the log were lost, as they could not be written", LogLevel.warn)
NOTICE = Event("notice", "{text}")


def format_text(event: LogEvent) -> str | None:
    """An event as one readable line (a traceback, where there is one, follows on lines of its own)."""
    message = _message(event)
    if not message:
        return None
    failure = event.get("log_failure")
    if failure is not None:
        message += "\n" + failure.getTraceback()
    return f"{_time(event)} {message.rstrip()}\n"


def format_json(event: LogEvent) -> str | None:
    """An event as one line of JSON: C{time}, C{level}, C{event}, C{message} and its facts."""
    message = _message(event)
    if not message:
        return None
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": _time(event),
        "level": level.name if level is not None else "info",
        "event": event.get("event", "log"),
        "message": message,
    }
    facts = {key: value for key, value in event.items() if not key.startswith("log_")}
    if "event" in event:
        line |= {key: value for key, value in facts.items() if key not in line}
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line, default=str) + "\n"


def _message(event: LogEvent) -> str:
    if "event" in event:  # one of ours asks for no more than this, which takes a tenth of the time
        with suppress(Exception):
            return str(event["log_format"]).format_map(event)
    return formatEvent(event)


def _time(event: LogEvent) -> str:
    second, microseconds = divmod(round(event.get("log_time", 0.0) * 1_000_000), 1_000_000)
    moment, offset = _second(second)
    return f"{moment}.{microseconds // 1000:03}{offset}"


@lru_cache(maxsize=1)  # most events happen in the same second as the one before
def _second(second: int) -> tuple[str, str]:
    """The local time of a second since the epoch, and its offset."""
    moment = datetime.fromtimestamp(second, UTC).astimezone().isoformat()
    return moment[:19], moment[19:]


_FORMS = {"text": format_text, "json": format_json}


class Output(FileLogObserver):
    """The observer that writes the log, and the lines that other processes have written for it.

    @ivar log_format: one of L{FORMATS}.
    """

    def __init__(self, out: IO[Any], log_format: str) -> None:
        super().__init__(out, _FORMS[log_format])
        self.log_format = log_format
        self._out = out

    def begin(self) -> None:
        """Let nobody wait for a disk from here on: the process is the one that will serve, and may have threads."""
        if isinstance(self._out, LogStream):
            self._out.begin()

    def write(self, lines: str) -> None:
        """Put whole lines into the log as they are."""
        self._out.write(lines)
        self._out.flush()


def tell_again(lines: str, log: Logger | None = None) -> None:
    """Emit the events that another process has written as JSON, for observers that take events only.

    What is no event, as a killed process leaves it or a library prints it, is told as it is.
    """
    log = log or Logger("mailagent")
    for line in lines.splitlines():
        try:
            event = json.loads(line)
            level = LogLevel.lookupByName(event.pop("level"))
            log.emit(level, "{message}", **event)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidLogLevelError):
            NOTICE(log, text=line)


def observer(log_format: str, logfile: str) -> Output:
    """The observer that writes the log.

    @param log_format: one of L{FORMATS}.
    @param logfile: a path, or C{"-"} for standard output. SIGUSR1 starts a new file.
    """
    return Output(_open(logfile, _tell_lost(log_format)), log_format)


def together(log_format: str, fd: int) -> tuple[Output, LogStream]:
    """The observer that writes the log to a descriptor, many lines at a time, in a thread that runs from now on.

    @param log_format: one of L{FORMATS}.
    @return: it, and what is to be closed when nothing more comes.
    """
    stream = LogStream(FileSink(io.FileIO(fd, "w", closefd=False)), "utf-8", _tell_lost(log_format))
    stream.begin()
    return Output(cast(IO[Any], stream), log_format), stream


def _tell_lost(log_format: str) -> Callable[[int], str]:
    """What composes the line that tells how many were lost."""
    form = _FORMS[log_format]

    def lost(count: int) -> str:
        told = {"event": LOG_LOST.name, "log_format": LOG_LOST.format, "log_level": LOG_LOST.level, "count": count}
        return form({**told, "log_time": time.time()}) or ""

    return lost


def _open(logfile: str, lost: Callable[[int], str]) -> IO[Any]:
    if logfile == "-":
        return _standard_output(lost)
    stream = LogStream(RotatingFile(logfile), "utf-8", lost)
    if not signal.getsignal(signal.SIGUSR1):
        from twisted.internet import reactor

        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(stream.rotate))  # type: ignore[attr-defined]
    return cast(IO[Any], stream)


def _standard_output(lost: Callable[[int], str]) -> IO[Any]:
    """Standard output: a file, or a pipe, or a terminal, whose reader does not read."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an event that cannot be encoded would be lost
        with suppress(OSError):  # no descriptor: a test's
            fd = sys.stdout.fileno()
            sys.stdout.flush()
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                stream = LogStream(PipeSink(fd), sys.stdout.encoding, lost)
                stream.begin()  # at once: such a process does not become a daemon
                return cast(IO[Any], stream)
            file = io.FileIO(fd, "w", closefd=False)
            return cast(IO[Any], LogStream(FileSink(file), sys.stdout.encoding, lost))
    return sys.stdout
