"""Asking the person at the terminal, with prompt_toolkit's line editing.

prompt_toolkit blocks (it runs an event loop of its own), so each prompt runs in a daemon thread: one the reactor's
shutdown does not wait for. Guarantees: the answer comes back in the reactor's thread; a prompt can be ended at any
time by cancelling its Deferred, which gives the terminal back as it was found within L{RELEASE} seconds; what is typed
between two prompts, or ahead of the next, is not lost. When all is done, L{TerminalPrompter.release} is to be called.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TextIO

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.history import DummyHistory, InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle, PromptSession
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import Interface, implementer

from mailagent.compose.completion import RecipientCompleter, written
from mailagent.compose.correspondent import Correspondent

_LOCAL_FLAGS = 3  # in the list of termios.tcgetattr
#: Seconds that prompt_toolkit gets to tidy up the terminal before it is put back from outside.
RELEASE = 0.3


class Cancelled(Exception):
    """The person gave up: ^C, or ^D where an answer was asked for."""


class Interrupted(Exception):
    """The prompt was ended, though not by the person. C{text} is what had been typed."""

    def __init__(self, text: str) -> None:
        super().__init__("interrupted")
        self.text = text


class IPrompter(Interface):
    """Somebody who can be asked. One question at a time."""

    def ask(label: str, typed: str = "") -> Deferred[str]:
        """One line. Fails with L{Cancelled}; with L{Interrupted} when cancelled.

        @param typed: is there to begin with, as if typed.
        """

    def ask_recipients(label: str, typed: str = "") -> Deferred[str]:
        """As L{ask}, with help from whom there was mail to before."""

    def ask_password(label: str) -> Deferred[str]:
        """As L{ask}, but what is typed is neither shown nor remembered, and nothing is there to begin with."""

    def compose(label: str) -> Deferred[str]:
        """A text of any number of lines, ended by ^D on an empty one. Fails as L{ask}."""


@implementer(IPrompter)
class TerminalPrompter:
    """Asks on a terminal.

    @param reactor: answers arrive in its thread.
    @param stdin: the terminal, for reading.
    @param stdout: the terminal, for writing.
    @param earlier: recipients to offer, the latest first.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        stdin: TextIO,
        stdout: TextIO,
        earlier: Sequence[Correspondent] = (),
    ) -> None:
        self._reactor = reactor
        self._stdin = stdin
        self._attributes = termios.tcgetattr(stdin)
        output = Vt100_Output.from_pty(stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False  # serial lines, scripts and some terminals never answer where the cursor is
        terminal: dict[str, Any] = {"input": create_input(stdin), "output": output}
        line = terminal | {"key_bindings": _line_keys()}
        self._line: PromptSession[str] = PromptSession(**line)
        self._recipients: PromptSession[str] = PromptSession(
            **line,
            completer=RecipientCompleter(earlier),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            history=InMemoryHistory([written(who) for who in reversed(earlier)]),
        )
        self._secret: PromptSession[str] = PromptSession(
            **terminal, key_bindings=_line_keys(), is_password=True, history=DummyHistory()
        )
        self._text: PromptSession[str] = PromptSession(
            **terminal,
            multiline=True,
            key_bindings=_text_keys(),
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
        )

    def ask(self, label: str, typed: str = "") -> Deferred[str]:
        """See L{IPrompter}."""
        return self._prompt(self._line, label, lambda: Cancelled(), typed)

    def ask_recipients(self, label: str, typed: str = "") -> Deferred[str]:
        """See L{IPrompter}: Tab completes, and the arrow keys bring back."""
        return self._prompt(self._recipients, label, lambda: Cancelled(), typed)

    def ask_password(self, label: str) -> Deferred[str]:
        """See L{IPrompter}."""
        return self._prompt(self._secret, label, lambda: Cancelled())

    def compose(self, label: str) -> Deferred[str]:
        """See L{IPrompter}. The end of the input (a terminal hung up, say) sends nothing: it is an interruption."""
        return self._prompt(self._text, label, lambda: Interrupted(self._text.default_buffer.text))

    def _prompt(
        self, session: PromptSession[str], label: str, at_eof: Callable[[], Exception], typed: str = ""
    ) -> Deferred[str]:
        def ended(result: str | BaseException) -> None:
            self._reactor.callFromThread(answer, result)

        def answer(result: str | BaseException) -> None:
            if done.called:
                return
            if isinstance(result, str):
                done.callback(result)
            elif isinstance(result, OSError):  # the terminal is gone
                done.errback(Interrupted(session.default_buffer.text))
            else:
                done.errback(_translated(result, at_eof))

        def interrupt(done: Deferred[str]) -> None:
            prompt.stop()
            self.release()
            done.errback(Interrupted(session.default_buffer.text))

        self._hold()
        prompt = _Prompt(partial(session.prompt, label, default=typed), ended)
        done: Deferred[str] = Deferred(interrupt)
        prompt.start()
        return done

    def _hold(self) -> None:
        """Keep what is typed between two prompts for the next: a ^D must not get lost as an end of file."""
        with suppress(termios.error):  # gone: the prompt will tell
            attributes = termios.tcgetattr(self._stdin)
            attributes[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(self._stdin, termios.TCSANOW, attributes)

    def release(self) -> None:
        """Give the terminal back as it was found, if it is still there."""
        with suppress(termios.error):
            termios.tcsetattr(self._stdin, termios.TCSANOW, self._attributes)


class _Prompt(Thread):
    """One prompt. C{ended} is called in its thread, with the answer or why there is none."""

    def __init__(self, prompt: Callable[..., str], ended: Callable[[str | BaseException], None]) -> None:
        super().__init__(name="prompt", daemon=True)
        self._prompt = prompt
        self._ended = ended
        self._app: Application[Any] | None = None
        self._stopping = False

    def run(self) -> None:
        """See C{Thread}."""
        try:
            result: str | BaseException = self._prompt(pre_run=self._running, handle_sigint=False)
        except BaseException as error:  # handed to whoever waits
            result = error
        self._ended(result)

    def stop(self) -> None:
        """End the prompt, from another thread, and wait a moment until the terminal is as it was.

        This blocks the caller, but shortly, and only when everything is about to end.
        """
        self._stopping = True
        app = self._app
        if app is not None and app.loop is not None:
            app.loop.call_soon_threadsafe(_exit, app)
        self.join(RELEASE)

    def _running(self) -> None:
        self._app = get_app()
        if self._stopping:
            _exit(self._app)


def _exit(app: Application[Any]) -> None:
    if app.future is not None and not app.future.done():
        app.exit(exception=EOFError())


def _translated(error: BaseException, at_eof: Callable[[], Exception]) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        return Cancelled()
    return at_eof() if isinstance(error, EOFError) else error


def _line_keys() -> KeyBindings:
    """^Z is no letter; and to suspend us would leave the terminal in a state that a ^D typed later does not survive."""
    keys = KeyBindings()

    @keys.add("c-z")
    def _(event: KeyPressEvent) -> None:
        """Nothing."""

    return keys


def _text_keys() -> KeyBindings:
    """^D on an empty line is the end, and nothing else is; Enter and Tab, typed or pasted, are themselves."""
    keys = _line_keys()

    @keys.add("c-d")
    def _(event: KeyPressEvent) -> None:
        if not event.current_buffer.document.current_line.strip():
            event.current_buffer.validate_and_handle()

    @keys.add("enter")
    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("tab")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\t")

    return keys
