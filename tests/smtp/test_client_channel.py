"""The lock-step channel by itself. What it does for a sender is in L{tests.smtp.test_sender}."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailagent.envelope.reply import Reply
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed
from tests.maildir.support import logged


class Line:
    """A channel, and its transport."""

    def __init__(self, *, logged: bool = True) -> None:
        self.transport, self.clock = StringTransport(), Clock()
        self.channel = ClientChannel(self.clock, 10.0, logged=logged)
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(b"220 mx.example.org\r\n")


def began(coroutine: Coroutine[Deferred[Any], Any, Any]) -> list[Any]:
    """The result, once there is one."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    return results


def test_the_channel_is_a_pull_producer() -> None:
    assert verifyObject(IPullProducer, Line().channel)


def test_the_greeting_is_not_missed_by_who_asks_late() -> None:
    assert began(Line().channel.greeting()) == [Reply(220, "", "mx.example.org")]


def test_a_command_awaits_its_reply() -> None:
    line = Line()
    results = began(line.channel.command("NOOP", 5))
    assert line.transport.value() == b"NOOP\r\n"
    line.channel.dataReceived(b"250 2.0.0 ")
    assert results == []
    line.channel.dataReceived(b"OK\r\n")
    assert results == [Reply(250, "2.0.0", "OK")]
    assert line.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("wanted", "names"), [(True, ["reply_received", "command_sent", "reply_received"]), (False, [])]
)
def test_commands_and_replies_are_logged_where_that_is_wanted(wanted: bool, names: list[str]) -> None:
    with logged() as events:
        line = Line(logged=wanted)
        began(line.channel.command("NOOP", 5))
        line.channel.dataReceived(b"250 OK\r\n")
    assert [event["event"] for event in events if "event" in event] == names


@pytest.mark.parametrize("text", ["NOOP\r\nQUIT", "NOOP\n", "NOOP\0", "NOOP \x85", "NOOP \u2028", "NOOP \udce9"])
def test_a_line_that_would_be_two_is_never_written(text: str) -> None:
    line = Line()
    (failure,) = began(line.channel.command(text, 5))
    assert isinstance(failure, Failure)
    assert failure.check(ValueError)
    assert line.transport.value() == b""


def test_a_reply_to_nothing_ends_the_connection() -> None:
    line = Line()
    line.channel.dataReceived(b"250 OK\r\n")
    assert line.transport.disconnected
    (failure,) = began(line.channel.command("NOOP", 5))
    assert failure.check(ProtocolError)


def test_a_421_to_nothing_is_why_the_next_command_fails() -> None:
    line = Line()
    line.channel.dataReceived(b"421 4.4.2 Idle too long\r\n")
    (failure,) = began(line.channel.command("NOOP", 5))
    assert failure.check(SendingFailed)
    assert failure.value.reply == Reply(421, "4.4.2", "Idle too long")


def test_a_closed_channel_takes_no_command() -> None:
    line = Line()
    line.channel.close()
    assert line.transport.disconnecting
    (failure,) = began(line.channel.command("NOOP", 5))
    assert failure.check(SendingFailed)
    assert line.transport.value() == b""
