"""Words told and asked between two processes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport

from mailagent.interfaces import StorageFailed, StorageFull
from mailagent.workers.channel import Channel, Refused, Words
from tests.deferreds import result
from tests.maildir.support import Events
from tests.workers.support import Line

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)


def joined(words: Words) -> tuple[Channel, Line]:
    """A channel whose other end knows these words."""
    channel = Channel({})
    return channel, Line(channel, Channel(words))


def failure(asked: Deferred[Any]) -> BaseException:
    results: list[Any] = []
    asked.addErrback(results.append)
    error: BaseException = results[0].value
    return error


@given(octets=st.binary(), facts=st.dictionaries(st.text(), JSON))
def test_octets_and_facts_arrive_as_they_were_and_so_does_the_answer(octets: bytes, facts: dict[str, Any]) -> None:
    got: list[bytes] = []

    def word(octets: bytes, given: Any) -> Any:
        got.append(octets)
        return given

    channel, _ = joined({"word": word})
    assert result(channel.ask("word", octets, given=facts)) == facts
    assert got == [octets]


def test_answers_may_come_later_and_in_any_order() -> None:
    waiting: list[Deferred[str]] = []

    def word(octets: bytes) -> Deferred[str]:
        waiting.append(Deferred())
        return waiting[-1]

    channel, _ = joined({"word": word})
    first, second = channel.ask("word"), channel.ask("word")
    waiting[1].callback("second")
    waiting[0].callback("first")
    assert (result(first), result(second)) == ("first", "second")


def test_what_is_told_has_no_answer() -> None:
    got: list[int] = []
    channel, _ = joined({"word": lambda octets, number: got.append(number)})
    channel.tell("word", number=7)
    assert got == [7]


@pytest.mark.parametrize("error", [StorageFull("full"), StorageFailed("away")])
def test_a_failure_of_the_contract_keeps_its_kind_and_its_words(error: Exception) -> None:
    def word(octets: bytes) -> None:
        raise error

    channel, _ = joined({"word": word})
    got = failure(channel.ask("word"))
    assert (type(got), str(got)) == (type(error), str(error))


def test_any_other_failure_is_refused() -> None:
    channel, _ = joined({"word": lambda octets: 1 // 0})
    assert isinstance(failure(channel.ask("word")), Refused)


def test_what_was_asked_fails_when_the_other_side_is_gone_and_so_does_what_is_asked_then() -> None:
    lost: list[bool] = []
    channel = Channel({}, lambda: lost.append(True))
    line = Line(channel, Channel({"word": lambda octets: Deferred()}))
    asked = channel.ask("word")
    line.cut()
    assert isinstance(failure(asked), ConnectionLost)
    assert isinstance(failure(channel.ask("word")), ConnectionLost)
    channel.tell("word")
    assert lost == [True]


@pytest.mark.parametrize("frame", [b"no JSON\n", b"[]\n", b'{"word": "unknown", "facts": {}}\n', b'{"number": 99}\n'])
def test_a_frame_that_cannot_be_read_ends_the_channel(frame: bytes) -> None:
    channel, transport = Channel({}), StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(len(frame).to_bytes(4, "big") + frame)
    assert transport.disconnecting


def test_a_frame_that_is_too_long_ends_the_channel_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, transport, events = Channel({}), StringTransport(), Events()
    monkeypatch.setattr(channel, "_log", events.log)
    channel.makeConnection(transport)
    channel.dataReceived(b"\xff\xff\xff\xff")
    assert transport.disconnecting
    assert "4294967295 octets" in events[0]["reason"]
