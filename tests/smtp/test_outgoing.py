"""Transactions of the sending side, against a server in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.outcome import Hop
from mailagent.interfaces import LeaseLost
from mailagent.smtp.outgoing import GROUP
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import ProtocolError, SendingFailed, TransactionRefused
from tests.smtp.outgoing_server import (
    ANN,
    BOB,
    CONTENT,
    DROP,
    EVE,
    OK,
    SILENCE,
    TO_BOTH,
    Exchange,
    OutgoingServer,
    outcomes,
    replies,
    submitting,
)

PIPELINING = {"EHLO": "250-mx\r\n250 PIPELINING"}
NO = "550 5.1.1 Nobody"


# Pipelining


def test_mail_recipients_and_data_go_out_together_where_pipelining_is_offered() -> None:
    exchange = submitting(PIPELINING)
    assert exchange.segments[1] == (
        b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
    )
    assert replies(exchange) == [OK, OK]
    assert exchange.server.messages == [b"Subject: x\r\n\r\ntext"]


def test_a_group_never_holds_more_than_the_servers_buffers() -> None:
    many = tuple(Address(f"{number}{'x' * 50}", "example.org") for number in range(1000))
    exchange = submitting(PIPELINING, Envelope(EVE, many))
    assert replies(exchange) == [OK] * 1000
    assert len(exchange.segments) > 5
    assert max(map(len, exchange.segments)) <= GROUP


def test_a_data_allowed_for_nobody_is_ended_by_a_lone_dot() -> None:
    exchange = submitting({**PIPELINING, "RCPT": NO})
    assert replies(exchange) == [NO, NO]
    assert exchange.server.messages == [b""]
    assert exchange.server.lines[-2:] == [".", "RSET"]
    assert exchange.sender.idle_ok


def test_a_data_allowed_though_the_sender_is_refused_is_ended_by_a_lone_dot() -> None:
    exchange = submitting({**PIPELINING, "MAIL": "550 5.7.1 Not you", "RCPT": "503 5.5.1 MAIL first"})
    with pytest.raises(TransactionRefused, match="refuses the sender"):
        _ = exchange.result
    assert replies(exchange) == ["550 5.7.1 Not you"] * 2
    assert exchange.server.messages == [b""]
    assert exchange.sender.idle_ok


def test_a_server_that_would_deliver_nothing_from_nobody_is_left() -> None:
    exchange = submitting({**PIPELINING, "MAIL": "550 5.7.1 Not you"})
    assert replies(exchange) == ["550 5.7.1 Not you"] * 2
    assert exchange.server.messages == []
    assert exchange.transport.disconnected


@pytest.mark.parametrize("end", [DROP, SILENCE, "hello", "421 4.3.2 Bye"])
def test_a_lone_dot_that_goes_wrong_changes_nothing(end: str) -> None:
    assert replies(submitting({**PIPELINING, "RCPT": NO, ".": end})) == [NO, NO]


@pytest.mark.parametrize("end", [DROP, SILENCE, "hello", "421 4.3.2 Bye", "250 What?", "503 5.5.1 Nobody"])
def test_once_all_are_refused_nothing_that_goes_wrong_is_a_failure(end: str) -> None:
    exchange = submitting({**PIPELINING, "RCPT": NO, "DATA": end})
    assert [str(outcome.reply) for outcome in exchange.result] == [NO, NO]


def test_a_refused_sender_stays_refused_though_the_connection_goes() -> None:
    exchange = submitting({**PIPELINING, "MAIL": "550 5.7.1 Not you", "RCPT": DROP})
    with pytest.raises(TransactionRefused, match="refuses the sender"):
        _ = exchange.result


REPLIES = st.sampled_from(
    [OK, OK, OK, NO, "451 4.2.0 Later", "421 4.3.2 Bye", DROP, SILENCE, "hello", "250-2.0.0 a\r\n250 2.0.0 b", "354 x"]
)


@given(
    mail=REPLIES,
    rcpts=st.lists(REPLIES, min_size=1, max_size=4),
    data=st.just("354 Go on") | REPLIES,
    verdict=REPLIES,
    size=st.integers(1, 200),
)
def test_pipelining_and_lock_step_have_the_same_outcomes(
    mail: str, rcpts: list[str], data: str, verdict: str, size: int
) -> None:
    script = {"MAIL": mail, "DATA": data, ".": verdict}
    script |= {f"RCPT TO:<{number}@": reply for number, reply in enumerate(rcpts)}
    envelope = Envelope(EVE, tuple(Address(str(number), "example.org") for number in range(len(rcpts))))
    both = [submitting(script | offer, envelope, size=size) for offer in ({}, PIPELINING)]
    lock_step, pipelined = both
    assert outcomes(lock_step) == outcomes(pipelined)
    assert len(outcomes(lock_step)) == len(rcpts)
    raised = [type(result.value) if isinstance(result, Failure) else None for result in lock_step.results]
    assert raised == [type(result.value) if isinstance(result, Failure) else None for result in pipelined.results]
    assert [message for message in pipelined.server.messages if message] == lock_step.server.messages
    assert lock_step.clock.getDelayedCalls() == pipelined.clock.getDelayedCalls() == []


@attrs.define
class NoisyServer(OutgoingServer):
    """Answers EHLO, says C{noise} to whatever comes then, and nothing more."""

    noise: bytes = b""

    def receive(self, octets: bytes) -> bytes:
        if octets.startswith(b"EHLO"):
            return super().receive(octets)
        said, self.noise, self.silent = self.noise, b"", True
        return said


NOISE = st.lists(
    st.binary(max_size=20)
    | st.sampled_from([b"250 OK\r\n", b"354 Go\r\n", b"550 No\r\n", b"421 Bye\r\n", b"250-", b"\n", b"2", b"\r"])
).map(b"".join)


@given(NOISE, st.integers(1, 50), st.sampled_from([{}, PIPELINING]))
def test_whatever_a_server_says_each_recipient_has_an_outcome_in_time(
    noise: bytes, size: int, offer: Mapping[str, str]
) -> None:
    exchange = Exchange(NoisyServer(offer, noise=noise), lambda sender: sender.submit(TO_BOTH, CONTENT), size=size)
    assert len(outcomes(exchange)) == 2
    assert exchange.clock.getDelayedCalls() == []


# Still ours?


@pytest.mark.parametrize("offer", [{}, PIPELINING])
def test_a_message_that_is_not_ours_any_more_is_not_sent(offer: Mapping[str, str]) -> None:
    exchange = submitting(offer, still_ours=lambda: succeed(False))
    with pytest.raises(LeaseLost):
        _ = exchange.result
    assert "DATA" not in exchange.server.lines
    assert exchange.server.lines[-1] == ("EHLO client.example" if offer else "RSET")
    assert exchange.sender.idle_ok


@pytest.mark.parametrize("offer", [{}, PIPELINING])
def test_a_message_that_is_still_ours_is_sent(offer: Mapping[str, str]) -> None:
    assert replies(submitting(offer, still_ours=lambda: succeed(True))) == [OK, OK]


def test_nobody_asks_whether_it_is_ours_once_all_are_refused() -> None:
    def never() -> Deferred[bool]:
        raise AssertionError("asked")

    assert replies(submitting({"RCPT": NO}, still_ours=never)) == [NO, NO]


def test_a_question_that_cannot_be_answered_sends_nothing() -> None:
    exchange = submitting({}, still_ours=lambda: fail(OSError("database gone")))
    with pytest.raises(OSError, match="database gone"):
        _ = exchange.result
    assert exchange.transport.disconnected
    assert "DATA" not in exchange.server.lines


# Reports


ASKED = Envelope(
    EVE,
    (ANN, BOB),
    returned="HDRS",
    envelope_id="a=b c",
    notify={
        ANN: Notify(frozenset({"FAILURE", "SUCCESS"}), ("rfc822", "sales+x@example.org")),
        BOB: Notify(frozenset({"NEVER"}), ("utf-8", "j\xf6rg@example.org")),
    },
)


def test_what_the_sender_wants_to_hear_is_passed_on_where_the_server_offers_dsn() -> None:
    exchange = submitting({"EHLO": "250-mx\r\n250 DSN"}, ASKED)
    assert exchange.server.lines[1:4] == [
        "MAIL FROM:<eve@example.com> RET=HDRS ENVID=a+3Db+20c",
        "RCPT TO:<ann@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;sales+2Bx@example.org",
        "RCPT TO:<bob@example.org> NOTIFY=NEVER ORCPT=utf-8;j\\x{F6}rg@example.org",
    ]
    assert [outcome.notice for outcome in outcomes(exchange)] == ["", ""]


def test_where_it_does_not_the_message_is_relayed_without() -> None:
    exchange = submitting({"RCPT TO:<bob": NO}, ASKED)
    assert exchange.server.lines[1:3] == ["MAIL FROM:<eve@example.com>", "RCPT TO:<ann@example.org>"]
    assert [outcome.notice for outcome in outcomes(exchange)] == ["relayed", ""]


def test_the_outcome_tells_whose_reply_it_is() -> None:
    odd = Address("j\xf6rg", "example.org")
    mine, theirs, own = outcomes(submitting({"RCPT TO:<bob": NO}, Envelope(EVE, (ANN, BOB, odd))))
    assert mine.hop == theirs.hop == Hop("mx.example", "192.168.1.1", "")
    assert own.hop == Hop()


def test_our_own_word_is_nobodys_but_tells_where_the_attempt_went() -> None:
    exchange = submitting(OFFERS_IT, WITH_TLS, verified=False)
    assert outcomes(exchange)[0].hop == Hop("", "192.168.1.1", "")


def test_of_a_long_reply_a_part_is_kept() -> None:
    long = "550-" + "\r\n550-".join(["x" * 900] * 60) + "\r\n550 x"
    assert all(len(reply) < 3000 for reply in replies(submitting({"RCPT": long})))


# REQUIRETLS

WITH_TLS = Envelope(EVE, (ANN,), require_tls=True)
OFFERS_IT = {"EHLO": "250-mx\r\n250 REQUIRETLS"}


def test_a_demand_for_tls_is_passed_on_under_verified_tls() -> None:
    exchange = submitting(OFFERS_IT, WITH_TLS, verified=True)
    assert exchange.server.lines[1] == "MAIL FROM:<eve@example.com> REQUIRETLS"


@pytest.mark.parametrize(
    ("script", "verified", "said"), [(OFFERS_IT, True, " REQUIRETLS"), (OFFERS_IT, False, ""), ({}, True, "")]
)
def test_a_report_asks_for_tls_where_it_is_and_goes_all_the_same(
    script: Mapping[str, str], verified: bool, said: str
) -> None:
    exchange = submitting(script, attrs.evolve(WITH_TLS, reverse_path=None), verified=verified)
    assert replies(exchange) == [OK]
    assert exchange.server.lines[1] == f"MAIL FROM:<>{said}"


@pytest.mark.parametrize(("script", "verified"), [(OFFERS_IT, False), ({}, True)])
def test_a_demand_for_tls_that_cannot_be_met_is_a_refusal(script: Mapping[str, str], verified: bool) -> None:
    exchange = submitting(script, WITH_TLS, verified=verified)
    assert replies(exchange)[0].startswith("550 5.7.30")
    assert outcomes(exchange)[0].hop.host == ""
    assert exchange.server.lines == ["EHLO client.example"]
    assert exchange.sender.idle_ok


# Limits


def test_recipients_over_the_servers_limit_are_deferred_unasked() -> None:
    exchange = submitting({"EHLO": "250-mx\r\n250 LIMITS RCPTMAX=1"})
    assert [reply[:9] for reply in replies(exchange)] == ["250 2.0.0", "452 4.5.3"]
    assert len(exchange.server.lines) == 5


def test_messages_over_the_servers_limit_are_not_begun() -> None:
    async def twice(sender: Sender) -> Any:
        assert sender.idle_ok
        await sender.submit(TO_BOTH, CONTENT)
        assert not sender.idle_ok
        return await sender.submit(TO_BOTH, CONTENT)

    exchange = Exchange(OutgoingServer({"EHLO": "250-mx\r\n250 LIMITS MAILMAX=1"}), twice)
    assert [reply[:9] for reply in replies(exchange)] == ["452 4.5.3"] * 2
    assert exchange.sender.sent == 1


def test_a_session_takes_no_more_domains_than_the_server() -> None:
    exchange = submitting({"EHLO": "250-mx\r\n250 LIMITS RCPTDOMAINMAX=1"})
    assert exchange.sender.takes("example.org")
    assert not exchange.sender.takes("example.net")


# Reuse


@pytest.mark.parametrize("event", [b"421 4.4.2 Idle too long\r\n", b"250 What?\r\n", b"hello\r\n"])
def test_a_session_that_the_server_spoils_is_not_used_again(event: bytes) -> None:
    exchange = submitting({})
    assert exchange.sender.idle_ok
    exchange.channel.dataReceived(event)
    assert not exchange.sender.idle_ok


@pytest.mark.parametrize(("reply", "lives"), [(OK, True), (DROP, False), (SILENCE, False)])
def test_a_reset_tells_whether_the_session_lives(reply: str, lives: bool) -> None:
    assert Exchange(OutgoingServer({"RSET": reply}), lambda sender: sender.reset()).result is lives


# LMTP

LHLO = {"LHLO": "250-mx\r\n250 PIPELINING"}


@pytest.mark.parametrize("offer", [{"LHLO": "250 mx"}, LHLO])
def test_lmtp_has_a_verdict_for_each_accepted_recipient(offer: Mapping[str, str]) -> None:
    envelope = Envelope(EVE, (ANN, EVE, BOB))
    verdicts = ["250 2.0.0 In", "452 4.2.2 Full"]
    exchange = submitting({**offer, "RCPT TO:<eve": NO}, envelope, lmtp=True, verdicts=verdicts)
    assert replies(exchange) == ["250 2.0.0 In", NO, "452 4.2.2 Full"]
    assert exchange.server.lines[0] == "LHLO client.example"
    assert exchange.sender.idle_ok


def test_lmtp_never_falls_back() -> None:
    exchange = submitting({"LHLO": "500 5.5.1 What?"}, lmtp=True)
    with pytest.raises(SendingFailed, match="refuses the greeting"):
        _ = exchange.result
    assert exchange.server.lines == ["LHLO client.example"]


@pytest.mark.parametrize("end", [DROP, SILENCE, "421 4.3.2 Bye", "354 What?"])
def test_lmtp_verdicts_that_came_stand_when_the_rest_do_not(end: str) -> None:
    exchange = submitting(LHLO, Envelope(EVE, (ANN, BOB)), lmtp=True, verdicts=["250 2.0.0 In", end])
    ann, bob = outcomes(exchange)
    assert ann.delivered
    assert bob.deferred


def test_lmtp_with_a_data_allowed_for_nobody_is_left() -> None:
    exchange = submitting({**LHLO, "RCPT": NO}, lmtp=True)
    assert replies(exchange) == [NO, NO]
    assert exchange.transport.disconnected


# What says nothing about the message


@pytest.mark.parametrize("script", [{"greeting": "554 5.3.2 No"}, {"EHLO": "550 5.7.1 No", "HELO": "550 5.7.1 No"}])
def test_a_refused_greeting_is_never_final_for_a_message(script: Mapping[str, str]) -> None:
    (result,) = submitting(script).results
    failure = result.value
    assert not isinstance(failure, TransactionRefused)
    assert failure.outcomes == ()
    assert failure.deferral.transient
    assert failure.deferral.status.startswith("4.")
    assert failure.reply is not None
    assert failure.reply.permanent


@pytest.mark.parametrize("end", [DROP, SILENCE, "hello"])
def test_a_lost_verdict_is_deferred(end: str) -> None:
    for outcome in outcomes(submitting({**PIPELINING, ".": end})):
        assert outcome.deferred
        assert "not known whether it was accepted" in outcome.reply.text


# Servers that mean harm


def test_a_flood_before_the_greeting_is_cut_off() -> None:
    for flood in (OK, "220-x", "x"):
        exchange = submitting({"greeting": "\r\n".join([flood] * 100_000)})
        assert isinstance(exchange.results[0].value, ProtocolError)
        assert exchange.transport.disconnected


def test_a_reply_of_ten_megabytes_to_one_of_a_group_is_cut_off() -> None:
    exchange = submitting({**PIPELINING, "RCPT TO:<bob": "250-" + "x" * 10_000_000})
    assert exchange.transport.disconnected
    assert [outcome.deferred for outcome in outcomes(exchange)] == [True, True]


def test_a_refusal_stands_though_nonsense_follows_it_in_one_segment() -> None:
    assert replies(submitting({**PIPELINING, "RCPT TO:<ann": NO, "RCPT TO:<bob": "bare\n"}))[0] == NO


def test_more_replies_than_commands_decide_nothing_further() -> None:
    exchange = submitting({**PIPELINING, "DATA": f"354 Go on\r\n{OK}"})
    assert isinstance(exchange.results[0].value, ProtocolError)
    assert exchange.server.messages == []


def test_each_reply_of_a_group_has_its_time() -> None:
    exchange = submitting({**PIPELINING, "RCPT TO:<bob": SILENCE})
    assert "no answer within 4 s (waiting for: RCPT TO:<bob@example.org>)" in replies(exchange)[1]
