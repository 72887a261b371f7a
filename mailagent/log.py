"""The event vocabulary: one structured event per fact, and how events are written.

Every event has a name (C{event}) and facts; nothing in an event is message content. A peer's strings are
escaped in the readable form; in JSON the encoding does it.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, cast

import attrs
from constantly import NamedConstant
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.python.logfile import LogFile

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\ud7ff\ue000-\U0010ffff]")
#: Longest peer-given string that goes into an event; the rest is cut off.
_MAX_FACT = 512
FORMATS = ("text", "json")


def printable(text: str) -> str:
    """C{text} with everything that could move a cursor, end a line or fail to encode escaped, and bounded."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text[:_MAX_FACT])


@attrs.frozen
class Event:
    """A kind of fact. Call it with a logger and the facts to record one."""

    name: str
    format: str
    level: NamedConstant = LogLevel.info

    def __call__(self, log: Logger, **facts: object) -> None:
        """Emit the event; strings among the facts are made printable."""
        safe = {key: printable(value) if isinstance(value, str) else value for key, value in facts.items()}
        log.emit(self.level, self.format, event=self.name, **safe)


LISTENING = Event("listening", "listening on {address}")
CONNECTED = Event("connected", "{peer} connected")
DISCONNECTED = Event("disconnected", "{peer} disconnected after {seconds:.1f} s: {reason}")
COMMAND_REFUSED = Event("command_refused", "{peer} {command}: {reply}")
RECIPIENT_ACCEPTED = Event("recipient_accepted", "{id} recipient <{recipient}> accepted from <{sender}>")
RECIPIENT_REFUSED = Event("recipient_refused", "{id} recipient <{recipient}> refused from <{sender}>: {reply}")
MESSAGE_STORED = Event(
    "message_stored", "{id} stored from <{sender}> for {recipients}, {size} octets in {seconds:.3f} s"
)
MESSAGE_REFUSED = Event("message_refused", "{id} message from <{sender}> for {recipients} refused: {reply}")
MESSAGE_FAILED = Event("message_failed", "{id} not stored from <{sender}> for {recipients}: {reason}", LogLevel.error)
MAILBOX_UNWRITABLE = Event("mailbox_unwritable", "mailbox {mailbox} cannot be written: {reason}", LogLevel.error)
MAILBOX_RECOVERED = Event("mailbox_recovered", "mailbox {mailbox} can be written again")
LEFTOVERS_REMOVED = Event("leftovers_removed", "removed {count} left-over files from {mailbox}/tmp")
ERROR = Event("error", "{what}: {reason}", LogLevel.error)
STOPPING = Event("stopping", "stopping: {sessions} open, {busy} in a transaction, at most {seconds:g} s")
STOPPED = Event("stopped", "stopped")
NOTICE = Event("notice", "{text}")


def format_text(event: LogEvent) -> str | None:
    """An event as one readable line (a traceback, where there is one, follows on lines of its own)."""
    message = formatEvent(event)
    if not message:
        return None
    failure = event.get("log_failure")
    if failure is not None:
        message += "\n" + failure.getTraceback()
    return f"{_time(event)} {message.rstrip()}\n"


def format_json(event: LogEvent) -> str | None:
    """An event as one line of JSON: C{time}, C{level}, C{event}, C{message} and its facts."""
    message = formatEvent(event)
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


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC).astimezone()
    return moment.isoformat(timespec="milliseconds")


def observer_factory(log_format: str, logfile: str | None) -> Callable[[], ILogObserver]:
    """What twistd calls to get its observer.

    @param log_format: one of L{FORMATS}.
    @param logfile: a path, or C{None} or C{"-"} for standard output. SIGUSR1 starts a new file.
    """
    formatter = {"text": format_text, "json": format_json}[log_format]

    def make() -> ILogObserver:
        return FileLogObserver(_open(logfile), formatter)

    return make


def _open(logfile: str | None) -> IO[Any]:
    if not logfile or logfile == "-":
        return sys.stdout
    file = LogFile.fromFullPath(logfile)
    if not signal.getsignal(signal.SIGUSR1):
        from twisted.internet import reactor

        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))  # type: ignore[attr-defined]
    return cast(IO[Any], file)
