"""Prompts on a pseudo-terminal, in this process."""

from __future__ import annotations

import os
import queue
import termios
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface.verify import verifyObject

from mailagent.compose.correspondent import parse_correspondents
from mailagent.compose.prompt import Cancelled, Interrupted, IPrompter, TerminalPrompter
from tests.compose.terminal import CTRL_C, CTRL_D, ENTER
from tests.deferreds import value

EARLIER = parse_correspondents("Ann Example <ann@example.org>; bob@example.org")
PATIENCE = 20.0  # seconds, for what takes milliseconds
ESCAPE, UP, ERASE_LINE = "\x1b", "\x1b[A", "\x15"


class Reactor:
    """Runs what threads ask for when the test waits."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[[], object]] = queue.Queue()

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:
        self.calls.put(lambda: call(*args))


class Desk:
    """A person at a terminal, and the prompter that asks there."""

    def __init__(self) -> None:
        self.keyboard, slave = os.openpty()
        self.stdin, self.stdout = open(slave), open(slave, "w", closefd=False)  # noqa: SIM115
        self.found = self.settings
        self.reactor = Reactor()
        self.prompter = TerminalPrompter(cast(IReactorFromThreads, self.reactor), self.stdin, self.stdout, EARLIER)
        self.shown = ""

    @property
    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.stdin)

    def type(self, *keys: str) -> None:
        os.write(self.keyboard, "".join(keys).encode())

    def see(self, text: str) -> None:
        """Wait until something is shown."""
        while text not in self.shown:
            self.shown += os.read(self.keyboard, 4096).decode()

    def answer(self, deferred: Deferred[str]) -> Any:
        """What comes of a prompt."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            self.reactor.calls.get(timeout=PATIENCE)()
        return value(*results)

    def ask(self, *keys: str) -> Any:
        return self._prompted(self.prompter.ask("To: "), "To:", keys)

    def compose(self, *keys: str) -> Any:
        return self._prompted(self.prompter.compose("Enter email message:\n"), "message:", keys)

    def _prompted(self, deferred: Deferred[str], label: str, keys: tuple[str, ...]) -> Any:
        """Type when asked; until then ^C is a signal to the process."""
        self.shown = ""
        self.see(label)
        self.type(*keys)
        return self.answer(deferred)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.prompter.release()
    desk.stdin.close()
    os.close(desk.keyboard)


def test_the_terminal_prompter_is_a_prompter(desk: Desk) -> None:
    assert verifyObject(IPrompter, desk.prompter)


def test_an_answer_is_a_line(desk: Desk) -> None:
    assert desk.ask("ann@example.orgx\x7f", ENTER) == "ann@example.org"


def test_what_was_answered_can_be_called_back(desk: Desk) -> None:
    desk.ask("ann", ENTER)
    assert desk.ask(UP, "@example.org", ENTER) == "ann@example.org"


def test_earlier_recipients_are_completed_and_called_back(desk: Desk) -> None:
    def ask(*keys: str) -> Any:
        return desk._prompted(desk.prompter.ask_recipients("To: "), "To:", keys)

    assert ask("bo\t", ENTER) == "bob@example.org"
    assert ask("x@example.org; exam\t", ENTER) == "x@example.org; Ann Example <ann@example.org>"
    assert ask(UP, UP, UP, ENTER) == "Ann Example <ann@example.org>"
    assert desk.ask("\t", ENTER) != "bob@example.org"


def test_what_is_there_to_begin_with_can_be_corrected_and_is_gone_the_next_time(desk: Desk) -> None:
    def ask(typed: str, *keys: str) -> Any:
        return desk._prompted(desk.prompter.ask_recipients("Instead: ", typed), "Instead:", keys)

    assert ask("ann@example.com", "\x7f" * 3, "org", ENTER) == "ann@example.org"
    assert ask("ann@example.com", ERASE_LINE, ENTER) == ""
    assert ask("", ENTER) == ""


def test_a_password_is_neither_shown_nor_remembered(desk: Desk) -> None:
    assert desk._prompted(desk.prompter.ask_password("Password: "), "Password:", ("sesame", ENTER)) == "sesame"
    assert desk._prompted(desk.prompter.ask_password("Password: "), "Password:", (UP, ENTER)) == ""
    assert desk.ask(UP, ENTER) == ""
    os.write(desk.stdout.fileno(), b"end")
    desk.see("end")
    assert "sesame" not in desk.shown


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_control_c_and_control_d_give_up_an_answer(desk: Desk, key: str) -> None:
    with pytest.raises(Cancelled):
        desk.ask(key)


def test_a_text_ends_with_control_d_on_an_empty_line(desk: Desk) -> None:
    assert desk.compose("one", ENTER, "two", ENTER, CTRL_D) == "one\ntwo\n"


def test_control_d_at_once_is_an_empty_text(desk: Desk) -> None:
    assert desk.compose(CTRL_D) == ""


def test_control_d_on_a_line_with_text_does_not_end(desk: Desk) -> None:
    assert desk.compose("one", CTRL_D, " and", ENTER, CTRL_D) == "one and\n"


def test_escape_and_enter_do_not_end_a_text(desk: Desk) -> None:
    assert desk.compose("one", ESCAPE, ENTER, "two", ENTER, CTRL_D) == "one\ntwo\n"


def test_tabs_and_indentation_are_as_typed(desk: Desk) -> None:
    assert desk.compose("\tone", ENTER, "two", ENTER, CTRL_D) == "\tone\ntwo\n"


def test_a_paste_with_line_ends_is_text(desk: Desk) -> None:
    assert desk.compose("\x1b[200~one\n\ttwo\n\x1b[201~", CTRL_D) == "one\n\ttwo\n"


def test_control_c_gives_up_a_text(desk: Desk) -> None:
    with pytest.raises(Cancelled):
        desk.compose("one", ENTER, CTRL_C)


def test_what_is_typed_ahead_is_not_lost(desk: Desk) -> None:
    assert desk.ask("ann", ENTER, "text", ENTER) == "ann"
    desk.type(CTRL_D)  # between two prompts: no end of file
    assert desk.compose() == "text\n"


def test_cancelling_ends_the_prompt_with_what_was_typed_and_gives_the_terminal_back(desk: Desk) -> None:
    deferred = desk.prompter.compose("Enter email message:\n")
    desk.type("half a te")
    desk.see("half a te")
    deferred.cancel()
    assert desk.settings == desk.found
    with pytest.raises(Interrupted) as caught:
        desk.answer(deferred)
    assert caught.value.text == "half a te"


def test_a_prompt_can_be_cancelled_before_it_is_there(desk: Desk) -> None:
    deferred = desk.prompter.ask("To: ")
    deferred.cancel()
    with pytest.raises(Interrupted):
        desk.answer(deferred)
    desk.reactor.calls.get(timeout=PATIENCE)()  # its thread has ended
    assert desk.settings == desk.found


def test_the_terminal_is_given_back_in_the_end(desk: Desk) -> None:
    desk.ask("ann", ENTER)
    desk.prompter.release()
    assert desk.settings == desk.found
