"""Content on its way out, in transactions with a server in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from twisted.internet.defer import Deferred

from tests.smtp.outgoing_server import OK, replies, submitting


def test_content_that_has_to_be_waited_for_is_sent_as_it_comes() -> None:
    more: list[Deferred[bytes]] = [Deferred(), Deferred()]

    async def blocks() -> AsyncIterator[bytes]:
        for block in more:
            yield await block

    exchange = submitting({}, content=blocks())
    more[0].callback(b".one\n")
    exchange.run()
    assert exchange.segments[-1] == b"..one\r\n"
    more[1].callback(b"two")
    exchange.run()
    assert exchange.server.messages == [b"..one\r\ntwo"]
    assert replies(exchange) == [OK, OK]


def test_a_refusal_while_content_is_waited_for_is_the_verdict() -> None:
    block: Deferred[bytes] = Deferred()
    closed = []

    async def blocks() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            yield await block
        finally:
            closed.append(True)

    exchange = submitting({}, content=blocks())
    exchange.channel.dataReceived(b"552 5.3.4 Too much\r\n")
    block.callback(b"two")
    assert replies(exchange) == ["552 5.3.4 Too much"] * 2
    assert closed == [True]
    assert exchange.transport.disconnected


def test_content_whose_source_fails_is_never_ended() -> None:
    block: Deferred[bytes] = Deferred()

    async def blocks() -> AsyncIterator[bytes]:
        yield await block

    exchange = submitting({}, content=blocks())
    block.errback(OSError("disk gone"))
    exchange.run()
    with pytest.raises(OSError, match="disk gone"):
        _ = exchange.result
    assert exchange.server.messages == []
    assert exchange.transport.disconnected
