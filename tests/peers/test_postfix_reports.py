"""Postfix sends to us and wants to hear of success; it takes our notice, and hands it to us again by LMTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.mail import NASTY, as_received, as_sent, reported
from tests.peers.relays import Postfix, submit
from tests.peers.sending import mail_exchange, sending
from tests.peers.server import free_port
from tests.peers.test_relays import numbered

_DOMAIN = "postfix.example"
_MAIN = f"""
virtual_mailbox_domains = {_DOMAIN}
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:{{socket}}
"""
_LMTP = """
lmtp unix - - n - - lmtp
"""


@pytest.mark.requires("postfix")
def test_postfix_gets_our_notice_of_success_and_delivers_it_by_lmtp(home: Path) -> None:
    for name in ("postfix", "keeper", "receiver"):
        (home / name).mkdir()
    socket, port = home / "lmtp.sock", free_port()
    with sending(home / "keeper", 25, {}, hosts=[_DOMAIN], endpoint=f"unix:{socket}:mode=666", role="lmtp") as keeper:
        postfix = Postfix.start(home / "postfix", port, main=_MAIN.format(socket=socket), master=_LMTP)
        try:
            records = mail_exchange({_DOMAIN: "127.0.0.1"})
            endpoint = f"tcp:{port}:interface=127.0.0.1"
            with sending(home / "receiver", postfix.port, records, hosts=["hostmeister.de"], endpoint=endpoint) as site:
                submit(postfix.port, [NASTY], f"user1@{_DOMAIN}", "ENVID=QQ1", notify="NOTIFY=SUCCESS")
                site.await_delivery()  # the notice
                keeper.server.wait_for_output('"event": "message_stored"')
                (message,) = site.mailbox("user1")
        finally:
            postfix.stop()
        assert as_received(as_sent(message)) == NASTY
        (notice,) = keeper.mailbox("user1")
        assert b" with LMTP id " in notice
        assert b"\nOriginal-Envelope-Id: QQ1\n" in notice
        recipient = reported(b"Return-Path: <>\n" + as_received(as_sent(notice)))
        assert recipient["Action"] == "delivered"
        assert recipient["Original-Recipient"] == "rfc822; user1@hostmeister.de"


@pytest.mark.requires("postfix")
@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=pytest.mark.torture)])
def test_postfix_delivers_to_us_by_lmtp(home: Path, count: int) -> None:
    for name in ("postfix", "keeper"):
        (home / name).mkdir()
    socket = home / "lmtp.sock"
    sent = [numbered(number) for number in range(count)]
    with sending(
        home / "keeper", 25, {}, hosts=["hostmeister.de"], endpoint=f"unix:{socket}:mode=666", role="lmtp"
    ) as keeper:
        main = _MAIN.format(socket=socket).replace(_DOMAIN, "hostmeister.de")
        postfix = Postfix.start(home / "postfix", free_port(), main=main, master=_LMTP)
        try:
            submit(postfix.port, sent)
            postfix.process.wait_for_output(": removed", count, 240.0)
        finally:
            postfix.stop()
        assert sorted(as_received(as_sent(message)) for message in keeper.mailbox("user1")) == sorted(sent)
