"""What the person is told, and how."""

from __future__ import annotations

import io

import pytest

from mailagent.compose.teller import LARGE, Teller, TerminalTeller, plain_or_terminal
from mailagent.envelope.address import Address
from mailagent.envelope.outcome import Outcome
from mailagent.envelope.reply import Reply

ANN, BOB, CAT = (Address(name, "example.org") for name in ("ann", "bob", "cat"))
OUTCOMES = (
    Outcome(ANN, Reply(250, "2.0.0", "Stored")),
    Outcome(BOB, Reply(451, "4.2.0", "Not now")),
    Outcome(CAT, Reply(550, "5.1.1", "[bold]No\x1b[2J such[/] :smile:")),
)
GREEN, YELLOW, BOLD_RED = "\x1b[32m", "\x1b[33m", "\x1b[1;31m"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return io.StringIO()


def test_a_pipe_gets_a_line_a_recipient_without_colour() -> None:
    out, err = io.StringIO(), io.StringIO()
    teller = plain_or_terminal(None, out, err)
    teller.show(OUTCOMES[:2])
    teller.complain("Oh\n")
    assert out.getvalue() == (
        "ann@example.org: accepted (250 2.0.0 Stored)\nbob@example.org: deferred (451 4.2.0 Not now)\n"
    )
    assert err.getvalue() == "Oh\\n\n"


def test_a_hint_is_for_a_terminal_alone(terminal: io.StringIO) -> None:
    out, err = io.StringIO(), io.StringIO()
    Teller(out, err).hint("Waiting")
    assert (out.getvalue(), err.getvalue()) == ("", "")
    TerminalTeller(terminal).hint("Waiting\x1b \u2026")
    assert "Waiting\\x1b \u2026" in terminal.getvalue()


def test_a_terminal_gets_a_table_in_colour(terminal: io.StringIO) -> None:
    plain_or_terminal(terminal, terminal, terminal).show(OUTCOMES)
    shown = terminal.getvalue()
    for style, word in ((GREEN, "accepted"), (YELLOW, "deferred"), (BOLD_RED, "refused")):
        assert style + word in shown
    assert (
        len({line.index(style) for line, style in zip(shown.splitlines(), (GREEN, YELLOW, BOLD_RED), strict=True)}) == 1
    )


def test_no_color_is_respected(terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    TerminalTeller(terminal).show(OUTCOMES)
    assert GREEN not in terminal.getvalue()


def test_what_a_server_says_is_no_markup_and_moves_no_cursor(terminal: io.StringIO) -> None:
    TerminalTeller(terminal).show(OUTCOMES[2:])
    assert "550 5.1.1 [bold]No\\x1b[2J such[/] :smile:" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_no_recipients_make_no_table(terminal: io.StringIO) -> None:
    TerminalTeller(terminal).show([])
    assert terminal.getvalue() == ""


def test_a_complaint_is_one_line_however_long(terminal: io.StringIO) -> None:
    TerminalTeller(terminal).complain("word " * 50)
    assert terminal.getvalue().count("\n") == 1


def test_a_large_message_shows_how_far_it_is(terminal: io.StringIO) -> None:
    blocks = [b"x" * (LARGE // 2)] * 4
    taken = []
    for block in TerminalTeller(terminal).progress(blocks, 2 * LARGE):
        taken.append(block)
        if len(taken) == 3:
            assert "1.0/2.1 MB" in terminal.getvalue()
            assert "2.1/2.1 MB" not in terminal.getvalue()
    assert taken == blocks
    assert "2.1/2.1 MB" in terminal.getvalue()


def test_progress_is_not_drawn_for_every_block(terminal: io.StringIO) -> None:
    assert len(list(TerminalTeller(terminal).progress([b"x" * 1024] * 2048, 2 * LARGE))) == 2048
    assert terminal.getvalue().count("2.1 MB") < 110


def test_a_small_message_is_just_sent(terminal: io.StringIO) -> None:
    assert list(TerminalTeller(terminal).progress([b"x"], LARGE - 1)) == [b"x"]
    assert terminal.getvalue() == ""


def test_a_pipe_shows_no_progress() -> None:
    out = io.StringIO()
    assert list(Teller(out, out).progress([b"x"], LARGE * 9)) == [b"x"]
    assert out.getvalue() == ""
