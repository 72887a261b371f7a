"""Sessions over real connections: with a scripted server, and with Postfix's smtp-sink."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.trial.unittest import TestCase

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Outcome
from mailagent.smtp.sender import Sender, open_session
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed, Unreachable
from mailagent.smtp.timeouts import Timeouts
from tests import programs
from tests.smtp.scripted_server import DROP, SILENCE, ScriptedServer

ENVELOPE = Envelope(Address("eve", "example.com"), (Address("ann", "example.org"), Address("nobody", "example.org")))
#: More than the buffers of both ends hold, so that the writer has to wait for the network.
LARGE = [(b"%d" % number * 500)[:998] + b"\n" for number in range(10, 99)] * 50


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def connect(
    port: int, name: str = "client.example", host: str = "127.0.0.1", lmtp: bool = False, **timeouts: float
) -> Any:
    """A session with a server on this machine."""
    return open_session(HostnameEndpoint(reactor, host, port), reactor, name, Timeouts(**timeouts), lmtp=lmtp)


async def submitted(sender: Sender, content: list[bytes]) -> tuple[Outcome, ...]:
    try:
        return await sender.submit(ENVELOPE, content)
    finally:
        await sender.quit()


class ScriptedServerTests(TestCase):
    """Each test with a server of its own."""

    timeout = 30

    def setUp(self) -> None:
        self.server = ScriptedServer().__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.port = self.server.server_address[1]

    async def test_a_large_message_arrives_whole(self) -> None:
        accepted, refused = await submitted(await connect(self.port), LARGE)
        assert (accepted.reply.code, refused.reply.code) == (250, 550)
        assert self.server.messages == [b"".join(LARGE).replace(b"\n", b"\r\n") + b".\r\n"]

    async def test_without_a_name_the_address_literal_greets(self) -> None:
        await (await connect(self.port, name="")).quit()
        assert self.server.sessions == [[b"EHLO [127.0.0.1]", b"QUIT"]]

    async def test_a_refused_greeting_is_answered_with_quit(self) -> None:
        self.server.replies["greeting"] = "554 5.3.2 No"
        with pytest.raises(SendingFailed) as caught:
            await connect(self.port)
        assert "554 5.3.2 No" in caught.value.reason
        assert self.server.sessions == [[b"QUIT"]]

    async def test_a_drop_after_the_final_dot_is_an_unknown_outcome(self) -> None:
        self.server.replies["message"] = DROP
        with pytest.raises(SendingFailed) as caught:
            await submitted(await connect(self.port), LARGE)
        assert [outcome.deferred for outcome in caught.value.outcomes] == [True, False]
        assert "not known whether it was accepted" in caught.value.reason

    async def test_a_server_that_says_nothing_is_given_up(self) -> None:
        self.server.replies["greeting"] = SILENCE
        with pytest.raises(SendingFailed) as caught:
            await connect(self.port, greeting=0.01)
        assert "no answer within 0.01 s" in caught.value.reason

    async def test_a_reply_of_ten_megabytes_is_cut_off(self) -> None:
        self.server.replies["EHLO"] = "250-" + "x" * 10_000_000
        with pytest.raises(ProtocolError):
            await connect(self.port)

    async def test_no_connection_is_unreachable(self) -> None:
        with pytest.raises(Unreachable) as caught:
            await connect(free_port())
        assert "refused" in caught.value.reason

    async def test_a_name_that_is_none_is_unreachable(self) -> None:
        with pytest.raises(Unreachable):
            await connect(25, host="not a name")


@contextmanager
def smtp_sink(*options: str) -> Iterator[tuple[int, Path]]:
    """Postfix's sink: its port, and the folder where it writes one file a message."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)  # smtp-sink sheds root
        as_root = ["-u", "nobody", "-R", folder] if os.geteuid() == 0 else []
        command = [programs.path("smtp-sink"), *as_root, *options, "-d", "%M.", f"127.0.0.1:{port}", "10"]
        process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            await_listener(port)
            yield port, Path(folder)
        finally:
            process.kill()
            process.wait()


def await_listener(port: int, deadline: float = 10.0) -> None:
    until = time.monotonic() + deadline
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < until, "smtp-sink does not listen"
        else:
            return


@pytest.mark.requires("smtp-sink")
class SmtpSinkTests(TestCase):
    """Against a server that is not ours."""

    timeout = 30

    async def test_a_message_with_dots_and_all_line_ends_arrives(self) -> None:
        with smtp_sink() as (port, folder):
            outcomes = await submitted(await connect(port), [b".first\r", b"\n", b"..\nthird\r.", b"\nno end"])
            (file,) = folder.iterdir()
            assert all(outcome.delivered for outcome in outcomes)
            assert file.read_bytes().endswith(b"\n.first\n..\nthird\n.\nno end\n\n"), file.read_bytes()

    async def test_a_drop_at_every_stage_fails_at_once(self) -> None:
        for stage in ("connect", "ehlo", "mail", "rcpt", "data", "."):
            with smtp_sink("-q", stage) as (port, _), pytest.raises(SendingFailed):
                await submitted(await connect(port), LARGE)

    async def test_lmtp_has_a_verdict_for_each_recipient(self) -> None:
        with smtp_sink("-L") as (port, folder):
            sender = await connect(port, lmtp=True)
            assert all(outcome.delivered for outcome in await submitted(sender, [b"x\n"]))
            assert len(list(folder.iterdir())) == 1

    async def test_one_connection_takes_many_pipelined_messages(self) -> None:
        with smtp_sink() as (port, folder):
            sender = await connect(port)
            assert "PIPELINING" in sender.extensions
            for _ in range(20):
                assert sender.idle_ok
                assert all(outcome.delivered for outcome in await sender.submit(ENVELOPE, [b"x\n"]))
            await sender.quit()
            assert len(list(folder.iterdir())) == sender.sent == 20

    async def test_a_refusal_in_a_group_is_its_own_recipients(self) -> None:
        for stage, codes in (("rcpt", [500, 500]), ("data", [500, 500])):
            with smtp_sink("-f", stage) as (port, _):
                outcomes = await submitted(await connect(port), [b"x\n"])
                assert [outcome.reply.code for outcome in outcomes] == codes, stage

    async def test_a_server_without_ehlo_is_spoken_to_in_smtp(self) -> None:
        with smtp_sink("-e") as (port, _):
            assert (await submitted(await connect(port), [b"x\n"]))[0].delivered
