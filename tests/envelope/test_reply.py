"""SMTP replies as values: read, judged and written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.envelope.reply import Reply


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("5.1.1 no such user", Reply(550, "5.1.1", "no such user")),
        ("5.1.1", Reply(550, "5.1.1", "")),
        ("no such user", Reply(550, "", "no such user")),
        ("", Reply(550, "", "")),
        ("5.1.1 no\n5.1.1 such user", Reply(550, "5.1.1", "no\nsuch user")),
        ("5.1.1000 x", Reply(550, "", "5.1.1000 x")),
        ("5.1.1x", Reply(550, "", "5.1.1x")),
    ],
)
def test_the_enhanced_status_is_taken_from_the_front_of_each_line(text: str, reply: Reply) -> None:
    assert Reply.read(550, text) == reply


def test_a_status_of_another_class_than_the_codes_is_only_text() -> None:
    assert Reply.read(550, "2.0.0 fine") == Reply(550, "", "2.0.0 fine")


def test_digits_of_other_scripts_make_no_status() -> None:
    assert Reply.read(550, "5.\u0661.\u0661 x") == Reply(550, "", "5.\u0661.\u0661 x")


@pytest.mark.parametrize(
    ("code", "positive", "transient", "permanent"),
    [(250, True, False, False), (354, True, False, False), (451, False, True, False), (550, False, False, True)],
)
def test_a_reply_is_positive_transient_or_permanent_by_its_code(
    code: int, positive: bool, transient: bool, permanent: bool
) -> None:
    reply = Reply(code)
    assert (reply.positive, reply.transient, reply.permanent) == (positive, transient, permanent)


def test_every_line_carries_code_and_status() -> None:
    assert bytes(Reply(250, "2.0.0", "one\ntwo")) == b"250-2.0.0 one\r\n250 2.0.0 two\r\n"


def test_a_reply_without_text_is_still_a_line() -> None:
    assert bytes(Reply(250)) == b"250 \r\n"


def test_what_a_peer_sent_cannot_forge_a_line_of_the_reply() -> None:
    assert bytes(Reply(550, "5.1.1", "<a\r\n250 ok\x1b[2J\u2028é>")) == (
        b"550-5.1.1 <a\r\n550-5.1.1 250 ok?[2J\r\n550 5.1.1 ?>\r\n"
    )


def test_a_reply_for_people_is_one_line() -> None:
    assert str(Reply(550, "5.1.1", "no\nsuch user")) == "550 5.1.1 no such user"
    assert str(Reply(250)) == "250"


codes = st.integers(200, 599)


@given(codes, st.text() | st.from_regex(r"([245]\.\d+\.\d+ )?.*"))
def test_a_reply_is_written_as_reply_lines_of_at_most_512_octets(code: int, text: str) -> None:
    written = bytes(Reply.read(code, text))
    assert re.fullmatch(rb"(\d{3}-[ -~]*\r\n)*\d{3} [ -~]*\r\n", written)
    assert max(map(len, written.splitlines(keepends=True))) <= 512


lines = st.lists(st.from_regex(r"[a-z][ -~]{0,60}", fullmatch=True), min_size=1, max_size=3)


@given(st.sampled_from([250, 451, 550]), st.booleans(), lines)
def test_a_written_reply_reads_as_itself(code: int, with_status: bool, texts: list[str]) -> None:
    reply = Reply(code, f"{str(code)[0]}.1.10" if with_status else "", "\n".join(texts))
    read = [line[4:] for line in bytes(reply).decode("ascii").split("\r\n")[:-1]]
    assert Reply.read(code, "\n".join(read)) == reply
