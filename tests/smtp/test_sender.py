"""The sending side, against a peer in memory. Real ones are in L{tests.smtp.test_sender_over_tcp}."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.reply import Reply
from mailagent.smtp.client_channel import ClientChannel
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed
from mailagent.smtp.timeouts import Timeouts
from tests.deferreds import value

ANN, BOB, EVE = Address("ann", "example.org"), Address("bob", "example.org"), Address("eve", "example.com")
CONTENT = (b"Subject: x\n\n", b"text\n")
TO_ANN = Envelope(EVE, (ANN,))
TO_BOTH = Envelope(EVE, (ANN, BOB))
TIMEOUTS = Timeouts(greeting=1, command=2, mail=3, rcpt=4, data=5, block=6, verdict=7, quit=8)
OK = "250 2.0.0 OK"
GREETED = {"greeting": "220 mx.example.org ESMTP", "EHLO": "250-mx.example.org\r\n250-SIZE 1000\r\n250 8bitmime"}
DROP, SILENCE = "", "…"
USUAL = {**GREETED, "MAIL": OK, "RCPT": OK, "DATA": "354 Go on", ".": OK, "RSET": OK, "QUIT": "221 Bye"}


class Peer:
    """A sender in the course of C{action}, and the server's end of its connection."""

    def __init__(self, action: Callable[[Sender], Coroutine[Deferred[Any], Any, Any]]) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.channel = ClientChannel(self.clock, TIMEOUTS.greeting)
        self.sender = Sender(self.channel, "client.example", TIMEOUTS)
        self.channel.makeConnection(self.transport)
        self.heard: list[str] = []
        self.results: list[Any] = []

        async def greet_and_act() -> Any:
            await self.sender.greet()
            return await action(self.sender)

        self.deferred = Deferred.fromCoroutine(greet_and_act()).addBoth(self.results.append)

    def serve(self, replies: Mapping[str, str]) -> None:
        """Answer as the longest key says that the last line heard begins with: L{DROP} closes, L{SILENCE} ends this."""
        script, key = {**USUAL, **replies}, "greeting"
        while (reply := script[key]) != SILENCE:
            if reply == DROP:
                self.lose()
                return
            self.channel.dataReceived(reply.encode() + b"\r\n")
            lines = self.listen()
            if not lines or self.dropped:
                return
            key = max((known for known in script if lines[-1].startswith(known)), key=len)

    def listen(self) -> list[str]:
        """The lines that came since the last time. The network takes all it is given."""
        while (producer := self.transport.producer) is not None:
            producer.resumeProducing()
        lines: list[str] = self.transport.value().decode("latin-1").split("\r\n")[:-1]
        self.transport.clear()
        self.heard += lines
        return lines

    def lose(self) -> None:
        """The connection goes."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def dropped(self) -> bool:
        """Whether the sender has aborted the connection."""
        return bool(self.transport.disconnected)

    @property
    def result(self) -> Any:
        return value(*self.results)

    @property
    def replies(self) -> list[str]:
        """The outcomes' replies, as text; the failure's if it failed."""
        try:
            outcomes = self.result
        except SendingFailed as failure:
            outcomes = failure.outcomes
        return [str(outcome.reply) for outcome in outcomes]

    @property
    def failure(self) -> SendingFailed:
        with pytest.raises(SendingFailed) as caught:
            _ = self.result
        return caught.value


def submitting(replies: Mapping[str, str], envelope: Envelope = TO_ANN, content: Iterable[bytes] = CONTENT) -> Peer:
    """A submission to a server that replies so."""
    peer = Peer(lambda sender: sender.submit(envelope, content))
    peer.serve(replies)
    return peer


def checking(replies: Mapping[str, str], envelope: Envelope = TO_BOTH) -> Peer:
    peer = Peer(lambda sender: sender.check(envelope))
    peer.serve(replies)
    return peer


# Greeting


def test_the_session_begins_with_ehlo_and_knows_the_extensions_in_any_case() -> None:
    peer = submitting({"EHLO": "250-mx\r\n250-size 1000\r\n250-8BitMIME\r\n250 Auth PLAIN LOGIN"})
    assert peer.heard[0] == "EHLO client.example"
    assert peer.sender.extensions == {"SIZE": "1000", "8BITMIME": "", "AUTH": "PLAIN LOGIN"}


def test_a_server_without_ehlo_gets_helo() -> None:
    peer = submitting({"EHLO": "502 5.5.1 What?", "HELO": OK})
    assert peer.heard[:2] == ["EHLO client.example", "HELO client.example"]
    assert peer.replies == [OK]
    assert peer.sender.extensions == {}


@pytest.mark.parametrize(
    "refusal",
    [
        {"greeting": "554 5.3.2 No service"},
        {"greeting": "421 4.3.2 Busy"},
        {"EHLO": "502 No", "HELO": "550 No"},
        {"EHLO": "451 4.3.0 Trouble"},
    ],
)
def test_a_refused_greeting_fails_with_the_servers_reply(refusal: Mapping[str, str]) -> None:
    failure = submitting(refusal).failure
    assert failure.reply is not None
    assert str(failure.reply) == list(refusal.values())[-1]


# Submission


def test_a_message_goes_out_in_lock_step() -> None:
    assert submitting({}, TO_BOTH).heard == [
        "EHLO client.example",
        "MAIL FROM:<eve@example.com>",
        "RCPT TO:<ann@example.org>",
        "RCPT TO:<bob@example.org>",
        "DATA",
        "Subject: x",
        "",
        "text",
        ".",
    ]


def test_the_verdict_on_the_message_is_the_outcome_of_each_accepted_recipient() -> None:
    peer = submitting({".": "250 2.0.0 Stored as 7"}, TO_BOTH)
    stored, hop = Reply(250, "2.0.0", "Stored as 7"), Hop("", "192.168.1.1")
    assert peer.result == (Outcome(ANN, stored, hop, "relayed"), Outcome(BOB, stored, hop, "relayed"))


def test_the_null_reverse_path_goes_out_empty() -> None:
    assert "MAIL FROM:<>" in submitting({}, Envelope(None, (ANN,))).heard


def test_a_second_transaction_can_follow() -> None:
    async def twice(sender: Sender) -> tuple[Outcome, ...]:
        return await sender.submit(TO_ANN, CONTENT) + await sender.submit(Envelope(EVE, (BOB,)), CONTENT)

    peer = Peer(twice)
    peer.serve({"RCPT TO:<ann": "550 5.1.1 Nobody"})
    assert peer.replies == ["550 5.1.1 Nobody", OK]
    assert peer.heard[3:5] == ["RSET", "MAIL FROM:<eve@example.com>"]


def test_a_recipient_given_twice_is_told_once_and_has_its_outcome_twice() -> None:
    peer = submitting({}, Envelope(EVE, (ANN, ANN)))
    assert peer.replies == [OK, OK]
    assert len([line for line in peer.heard if line.startswith("RCPT")]) == 1


@pytest.mark.parametrize(
    ("envelope", "parameters"),
    [
        (Envelope(EVE, (ANN,), size=1000), " SIZE=1000"),
        (Envelope(EVE, (ANN,), eight_bit=True), " BODY=8BITMIME"),
        (Envelope(EVE, (ANN,), size=7, eight_bit=True), " SIZE=7 BODY=8BITMIME"),
        (Envelope(EVE, (ANN,)), ""),
    ],
)
def test_what_the_server_offers_is_used_where_needed(envelope: Envelope, parameters: str) -> None:
    assert submitting({}, envelope).heard[1] == f"MAIL FROM:<eve@example.com>{parameters}"


def test_what_the_server_does_not_offer_is_not_used() -> None:
    assert submitting({"EHLO": "250 mx"}, Envelope(EVE, (ANN,), size=7)).heard[1] == "MAIL FROM:<eve@example.com>"


@pytest.mark.parametrize("offer", ["SIZE", "SIZE 0", "SIZE lots"])
def test_a_size_limit_that_is_none_limits_nothing(offer: str) -> None:
    assert submitting({"EHLO": f"250-mx\r\n250 {offer}"}, Envelope(EVE, (ANN,), size=9**9)).replies == [OK]


def test_a_message_over_the_servers_limit_is_not_begun() -> None:
    peer = submitting({}, Envelope(EVE, (ANN,), size=1001))
    assert peer.failure.verdict.code == 552
    assert peer.heard == ["EHLO client.example"]


def test_eight_bit_content_is_not_sent_to_a_server_that_does_not_take_it() -> None:
    assert submitting({"EHLO": "250 mx"}, Envelope(EVE, (ANN,), eight_bit=True)).replies[0].startswith("554 5.6.3")


@pytest.mark.parametrize("local", ["a\r\nRSET", "a\nb", "\0", "j\xf6rg"])
def test_a_recipient_that_cannot_be_written_is_refused_alone(local: str) -> None:
    peer = submitting({}, Envelope(EVE, (Address(local, "example.org"), BOB)))
    assert [reply[:9] for reply in peer.replies] == ["553 5.6.7", "250 2.0.0"]
    assert peer.heard[2] == "RCPT TO:<bob@example.org>"


@pytest.mark.parametrize("domain", ["x>\r\nRSET", "x> SIZE=1", "", "x y"])
def test_a_domain_cannot_end_the_path(domain: str) -> None:
    assert submitting({}, Envelope(EVE, (Address("ann", domain),))).replies[0].startswith("553 5.6.7")


def test_a_domain_goes_out_in_a_labels() -> None:
    peer = submitting({}, Envelope(EVE, (Address("ann", "b\xfccher.example"), Address("postmaster", ""))))
    assert peer.heard[2:4] == ["RCPT TO:<ann@xn--bcher-kva.example>", "RCPT TO:<postmaster>"]


# Addresses beyond ASCII

UTF8 = {"EHLO": "250-mx\r\n250-8BITMIME\r\n250 SMTPUTF8"}
JORG = Address("j\xf6rg", "b\xfccher.example")


def test_an_address_beyond_ascii_goes_as_it_is_with_its_domain_in_a_labels() -> None:
    peer = submitting(UTF8, Envelope(JORG, (ANN, JORG)))
    raw = "j\xf6rg@xn--bcher-kva.example".encode().decode("latin-1")
    assert peer.heard[1:4] == [f"MAIL FROM:<{raw}> SMTPUTF8", "RCPT TO:<ann@example.org>", f"RCPT TO:<{raw}>"]


@pytest.mark.parametrize("envelope", [TO_ANN, Envelope(EVE, (Address("ann", "b\xfccher.example"),))])
def test_smtputf8_is_asked_for_only_where_needed(envelope: Envelope) -> None:
    assert submitting(UTF8, envelope).heard[1] == "MAIL FROM:<eve@example.com>"


def test_a_header_beyond_ascii_needs_smtputf8_whatever_the_recipients() -> None:
    envelope = Envelope(EVE, (ANN,), eight_bit=True, utf8_header=True)
    assert submitting(UTF8, envelope).heard[1] == "MAIL FROM:<eve@example.com> BODY=8BITMIME SMTPUTF8"
    refused = submitting({}, envelope)
    assert refused.replies[0].startswith("554 5.6.9 the header has addresses beyond ASCII")
    assert refused.heard == ["EHLO client.example"]


def test_without_the_servers_offer_such_a_recipient_is_refused_alone() -> None:
    peer = submitting({}, Envelope(EVE, (JORG, ANN)))
    assert peer.replies == ["553 5.6.7 The server takes only addresses in ASCII", OK]


def test_without_the_servers_offer_such_a_sender_is_everybodys_refusal() -> None:
    assert submitting({}, Envelope(JORG, (ANN,))).replies == ["553 5.6.7 The server takes only addresses in ASCII"]


@pytest.mark.parametrize("local", ["a\x85b", "a\u2028b", "a\udce9b", "a\r\nb"])
def test_smtputf8_does_not_let_a_line_end_into_a_command(local: str) -> None:
    peer = submitting(UTF8, Envelope(EVE, (Address(local, "example.org"), BOB)))
    assert [reply[:9] for reply in peer.replies] == ["553 5.6.7", "250 2.0.0"]


# Refusals


def test_mixed_refusals_are_each_recipients_own_and_the_others_get_the_message() -> None:
    peer = submitting({"RCPT TO:<ann": "550 5.1.1 Nobody"}, TO_BOTH)
    assert peer.replies == ["550 5.1.1 Nobody", OK]
    assert "text" in peer.heard


def test_all_recipients_refused_with_mixed_codes_keep_each_its_own() -> None:
    """Stock C{ESMTPSender} makes one 550 of them, so that a deferred one would be given up."""
    peer = submitting({"RCPT TO:<ann": "550 5.1.1 Nobody", "RCPT TO:<bob": "451 4.2.0 Later"}, TO_BOTH)
    assert peer.replies == ["550 5.1.1 Nobody", "451 4.2.0 Later"]
    assert peer.heard[-1] == "RSET"
    assert "DATA" not in peer.heard


def test_a_refused_sender_fails_and_is_everybodys_outcome() -> None:
    peer = submitting({"MAIL": "550 5.7.1 Not you"}, TO_BOTH)
    assert "refuses the sender" in peer.failure.reason
    assert peer.replies == ["550 5.7.1 Not you"] * 2
    assert not peer.dropped


def test_a_refused_data_is_the_outcome_of_the_accepted() -> None:
    peer = submitting({"DATA": "451 4.3.0 Not now", "RCPT TO:<ann": "550 5.1.1 Nobody"}, TO_BOTH)
    assert peer.replies == ["550 5.1.1 Nobody", "451 4.3.0 Not now"]
    assert "text" not in peer.heard


def test_a_refused_message_is_the_outcome_of_the_accepted() -> None:
    peer = submitting({".": "554 5.6.0 Bad", "RCPT TO:<ann": "550 5.1.1 Nobody"}, TO_BOTH)
    assert peer.replies == ["550 5.1.1 Nobody", "554 5.6.0 Bad"]


def test_a_connection_lost_after_all_is_decided_changes_nothing() -> None:
    assert submitting({".": "554 5.6.0 Bad", "RSET": DROP}).replies == ["554 5.6.0 Bad"]


# Checking


def test_a_check_asks_about_each_recipient_and_sends_nothing() -> None:
    peer = checking({"RCPT TO:<ann": "550 5.1.1 Nobody"})
    assert peer.replies == ["550 5.1.1 Nobody", OK]
    assert peer.heard[1:] == [
        "MAIL FROM:<eve@example.com>",
        "RCPT TO:<ann@example.org>",
        "RCPT TO:<bob@example.org>",
        "RSET",
    ]


def test_a_check_that_breaks_off_tells_what_is_known() -> None:
    peer = checking({"RCPT TO:<ann": "550 5.1.1 Nobody", "RCPT TO:<bob": DROP})
    assert peer.replies == ["550 5.1.1 Nobody", "451 4.4.2 the server closed the connection"]


# Silence and loss

STAGES = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."]


@pytest.mark.parametrize("stage", STAGES)
def test_a_connection_lost_at_any_stage_fails_at_once(stage: str) -> None:
    """Stock C{ESMTPSenderFactory} over an endpoint never fires then."""
    peer = submitting({stage: DROP})
    assert "the server closed the connection" in peer.failure.reason
    assert peer.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("stage", "seconds"), list(zip(STAGES, [1, 2, 3, 4, 5, 7], strict=True)))
def test_no_reply_ever_fails_after_the_stages_time(stage: str, seconds: float) -> None:
    """Stock senders wait for ever."""
    peer = submitting({stage: SILENCE})
    peer.clock.advance(seconds - 0.1)
    assert peer.results == []
    peer.clock.advance(0.1)
    assert f"no answer within {seconds:g} s" in peer.failure.reason
    assert peer.dropped


def test_a_slow_reply_does_not_gain_time_by_trickling() -> None:
    peer = submitting({"MAIL": SILENCE})
    for octet in b"250":
        peer.channel.dataReceived(bytes([octet]))
        peer.clock.advance(1)
    assert "no answer" in peer.failure.reason


def test_the_default_times_are_the_rfcs() -> None:
    times = Timeouts()
    assert (times.greeting, times.mail, times.rcpt) == (300, 300, 300)
    assert (times.data, times.block, times.verdict) == (120, 180, 600)


@pytest.mark.parametrize("end", [DROP, SILENCE])
def test_an_outcome_that_nobody_can_know_says_so_and_is_no_success(end: str) -> None:
    peer = submitting({".": end, "RCPT TO:<ann": "550 5.1.1 Nobody"}, TO_BOTH)
    peer.clock.advance(TIMEOUTS.verdict)
    ann, bob = peer.failure.outcomes
    assert ann.failed
    assert bob.deferred
    assert "not known whether it was accepted" in bob.reply.text


def test_a_server_that_leaves_ends_the_session_with_its_words() -> None:
    peer = submitting({"RCPT TO:<bob": "421 4.3.2 Shutting down"}, TO_BOTH)
    assert peer.replies == ["421 4.3.2 Shutting down"] * 2
    assert peer.dropped


def test_a_server_that_leaves_after_its_verdict_does_not_undo_it() -> None:
    peer = submitting({".": f"{OK}\r\n421 4.3.2 Shutting down"})
    assert peer.replies == [OK]
    assert peer.dropped


def test_a_421_in_place_of_the_verdict_is_a_verdict() -> None:
    assert submitting({".": "421 4.3.0 Out of disk"}).replies == ["421 4.3.0 Out of disk"]


# Servers that stray

GARBAGE = ["220 x\n", "hello", "250-a\r\n251 b", "x" * 5000, "250-" + "x" * 900 + ("\r\n250-" + "x" * 900) * 100]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("stage", STAGES)
def test_what_is_no_reply_ends_the_session(stage: str, garbage: str) -> None:
    peer = submitting({stage: garbage})
    assert isinstance(peer.failure, ProtocolError)
    assert peer.dropped


@pytest.mark.parametrize(
    "strange", [{"DATA": "250 OK"}, {"MAIL": "354 Go on"}, {"RCPT": "354 Go on"}, {".": "354 Go on"}, {"EHLO": "354 x"}]
)
def test_a_reply_out_of_place_ends_the_session(strange: Mapping[str, str]) -> None:
    peer = submitting(strange)
    assert isinstance(peer.failure, ProtocolError)
    assert all(outcome.deferred for outcome in peer.failure.outcomes)


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_reply_to_nothing_is_not_taken_for_the_next_commands(stage: str) -> None:
    peer = submitting({stage: f"{USUAL[stage]}\r\n250 And another"})
    assert isinstance(peer.failure, ProtocolError)
    assert peer.dropped


def test_a_reply_to_nothing_after_the_verdict_does_not_undo_it() -> None:
    assert submitting({".": f"{OK}\r\n250 And another"}).replies == [OK]


def test_a_flood_of_replies_is_cut_off() -> None:
    peer = submitting({"MAIL": "\r\n".join([OK] * 5000)})
    assert isinstance(peer.failure, ProtocolError)


def test_what_comes_after_the_end_is_not_looked_at() -> None:
    peer = submitting({"MAIL": "hello"})
    peer.channel.dataReceived(b"550 more\r\n")
    assert "hello" in peer.failure.reason


# The content


class Slow:
    """A submission whose content has got the server's 354, over a network that takes a block when told to."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self.peer = Peer(lambda sender: sender.submit(TO_ANN, content))
        self.peer.serve({"DATA": SILENCE})
        self.peer.channel.dataReceived(b"354 Go on\r\n")

    def take(self) -> bytes:
        """What is on its way, taken by the network."""
        written = bytes(self.peer.transport.value())
        self.peer.transport.clear()
        if self.peer.transport.producer is not None:
            self.peer.transport.producer.resumeProducing()
        return written


def test_one_block_is_read_at_a_time_as_the_network_takes_them() -> None:
    read: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"%d\n" % number

    slow = Slow(blocks())
    assert read == [0]
    assert slow.take() == b"0\r\n"
    assert read == [0, 1]
    assert slow.take() + slow.take() == b"1\r\n2\r\n"
    assert slow.take() == b".\r\n"


def test_a_network_that_takes_nothing_fails_after_the_blocks_time() -> None:
    slow = Slow(CONTENT)
    slow.peer.clock.advance(TIMEOUTS.block - 1)
    slow.take()
    slow.peer.clock.advance(TIMEOUTS.block - 1)
    assert slow.peer.results == []
    slow.peer.clock.advance(1)
    assert "progress of the message" in slow.peer.failure.reason


def test_a_chunk_that_encodes_to_nothing_does_not_stop_the_rest() -> None:
    assert "b" in submitting({}, content=[b"a\r", b"\n", b"", b"b"]).heard


def test_content_that_breaks_off_is_never_ended_by_the_dot() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("disk gone")

    slow = Slow(broken())
    assert slow.take() == b"half"
    assert slow.peer.dropped
    assert slow.take() == b""
    with pytest.raises(OSError, match="disk gone"):
        _ = slow.peer.result


def test_cancelling_in_the_midst_drops_the_connection_without_the_dot() -> None:
    slow = Slow(CONTENT)
    slow.peer.deferred.cancel()
    assert slow.peer.dropped
    assert not slow.take().endswith(b".\r\n")
    with pytest.raises(CancelledError):
        _ = slow.peer.result


def test_a_connection_lost_in_the_midst_fails_at_once() -> None:
    slow = Slow(CONTENT)
    slow.peer.lose()
    assert slow.peer.replies == ["451 4.4.2 the server closed the connection"]


def test_a_refusal_in_the_midst_is_the_verdict_and_ends_the_session() -> None:
    slow = Slow(CONTENT)
    slow.peer.channel.dataReceived(b"552 5.3.4 Too much\r\n")
    assert slow.peer.replies == ["552 5.3.4 Too much"]
    assert slow.peer.dropped


def test_an_acceptance_in_the_midst_is_none() -> None:
    slow = Slow(CONTENT)
    slow.peer.channel.dataReceived(b"250 Fine\r\n")
    assert isinstance(slow.peer.failure, ProtocolError)


def test_content_is_not_touched_if_nobody_is_accepted() -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    assert submitting({"RCPT": "550 5.1.1 Nobody"}, content=never()).replies == ["550 5.1.1 Nobody"]


# Taking leave


def test_quit_closes_in_good_order() -> None:
    peer = Peer(lambda sender: sender.quit())
    peer.serve({})
    assert peer.heard[-1] == "QUIT"
    assert peer.transport.disconnecting
    assert not peer.dropped


@pytest.mark.parametrize("end", ["500 No", "421 Bye", "hello", DROP])
def test_quit_never_fails(end: str) -> None:
    peer = Peer(lambda sender: sender.quit())
    peer.serve({"QUIT": end})
    assert peer.result is None


def test_quit_does_not_wait_long() -> None:
    peer = Peer(lambda sender: sender.quit())
    peer.serve({"QUIT": SILENCE})
    peer.clock.advance(TIMEOUTS.quit)
    assert peer.result is None
    assert peer.dropped


def test_cancelling_quit_does_not_undo_what_was_achieved() -> None:
    async def submit_and_quit(sender: Sender) -> tuple[Outcome, ...]:
        try:
            return await sender.submit(TO_ANN, CONTENT)
        finally:
            await sender.quit()

    peer = Peer(submit_and_quit)
    peer.serve({"QUIT": SILENCE})
    peer.deferred.cancel()
    assert peer.replies == [OK]
