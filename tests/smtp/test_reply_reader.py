"""Reading replies out of octets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.reply import Reply
from mailagent.smtp.reply_reader import MAX_LINE, MAX_REPLY, MalformedReply, ReplyReader

REPLIES = st.lists(
    st.builds(
        Reply,
        st.integers(200, 599),
        text=st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126)), min_size=1).map("\n".join),
    )
)


@given(REPLIES, st.lists(st.integers(1, 20)))
def test_replies_are_read_the_same_however_they_are_cut(replies: list[Reply], sizes: list[int]) -> None:
    octets = b"".join(map(bytes, replies))
    reader, found = ReplyReader(), []
    for size in [*sizes, len(octets)]:
        found += reader.receive(octets[:size])
        octets = octets[size:]
    expected = [Reply.read(reply.code, reply.text) for reply in replies]
    assert [(reply.code, str(reply)) for reply in found] == [(reply.code, str(reply)) for reply in expected]


@given(st.binary())
def test_whatever_comes_gives_replies_or_malformed_reply(octets: bytes) -> None:
    with suppress(MalformedReply):
        ReplyReader().receive(octets)


def test_the_enhanced_status_is_taken_out() -> None:
    assert ReplyReader().receive(b"550-5.1.1 No\r\n550 5.1.1 such user\r\n") == [Reply(550, "5.1.1", "No\nsuch user")]


def test_a_code_may_stand_alone() -> None:
    assert ReplyReader().receive(b"250\r\n") == [Reply(250)]


def test_a_text_that_is_not_utf_8_is_read_all_the_same() -> None:
    assert ReplyReader().receive(b"250 caf\xe9\r\n")[0].text == "caf\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "octets",
    [
        b"220 hello\n",
        b"220 hello\r250 x\r\n",
        b"220-one\n220 two\r\n",
        b"hello\r\n",
        b"\r\n",
        b"25\r\n",
        b"2500 ok\r\n",
        b"650 ok\r\n",
        b"250_ok\r\n",
        b"250-one\r\n251 two\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_what_is_no_reply_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedReply):
        ReplyReader().receive(octets)


def test_an_endless_line_is_refused_within_the_limit() -> None:
    reader = ReplyReader()
    reader.receive(b"250 " + b"x" * (MAX_LINE - 4))
    with pytest.raises(MalformedReply):
        reader.receive(b"x")


def test_an_endless_reply_is_refused_within_the_limit() -> None:
    reader, line = ReplyReader(), b"250-" + b"x" * 996
    for _ in range(MAX_REPLY // len(line)):
        reader.receive(line + b"\r\n")
    with pytest.raises(MalformedReply):
        reader.receive(line + b"\r\n")


def test_the_limit_counts_anew_for_each_reply() -> None:
    line = b"250 " + b"x" * 996 + b"\r\n"
    assert len(ReplyReader().receive(line * 100)) == 100


@pytest.mark.parametrize("nonsense", [b"hello\r\n", b"bare\n", b"x" * (MAX_LINE + 1)])
def test_what_was_complete_before_the_nonsense_is_not_lost(nonsense: bytes) -> None:
    with pytest.raises(MalformedReply) as caught:
        ReplyReader().receive(b"250 one\r\n550 two\r\n" + nonsense)
    assert caught.value.before == (Reply(250, "", "one"), Reply(550, "", "two"))
