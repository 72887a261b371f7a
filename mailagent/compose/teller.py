"""Telling the person, or whoever reads the pipe, what becomes of the message.

Guarantees: whatever a server or a person wrote is shown with control characters escaped, and is never taken for markup;
what goes to a pipe is one line a fact, without colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from mailagent.envelope.outcome import Outcome
from mailagent.envelope.printable import printable

#: Octets; what is smaller is through before a person could read how far it is.
LARGE = 1024 * 1024
_STEPS = 100  # as often is progress drawn, at most: the line to the terminal may be slow
_STYLES = {"accepted": "green", "deferred": "yellow", "refused": "bold red"}


def _word(outcome: Outcome) -> str:
    return "accepted" if outcome.delivered else "deferred" if outcome.deferred else "refused"


class Teller:
    """Tells in plain lines.

    @param out: what is told goes there.
    @param err: what went wrong goes there.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err

    def say(self, text: str) -> None:
        """Tell a fact."""
        with suppress(OSError):  # a terminal that is gone must not cost the text
            print(printable(text), file=self._out, flush=True)

    def complain(self, text: str) -> None:
        """Tell what went wrong."""
        with suppress(OSError):
            print(printable(text), file=self._err, flush=True)

    def hint(self, text: str) -> None:
        """Tell what only somebody who watches cares for."""

    def show(self, outcomes: Iterable[Outcome]) -> None:
        """Tell each recipient's result, with the server's reply."""
        for outcome in outcomes:
            self.say(f"{outcome.recipient}: {_word(outcome)} ({outcome.reply})")

    def progress(self, blocks: Iterable[bytes], size: int) -> Iterable[bytes]:
        """C{blocks}, while they are taken, of C{size} octets altogether."""
        return blocks


class TerminalTeller(Teller):
    """Tells in colour, in a table, and how far a large message is. C{NO_COLOR} in the environment is respected."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__(terminal, terminal)
        self._console = Console(file=terminal, highlight=False, markup=False, emoji=False, force_terminal=True)

    def complain(self, text: str) -> None:
        """See L{Teller.complain}."""
        with suppress(OSError):
            self._console.print(Text(printable(text), style="red"), soft_wrap=True)

    def hint(self, text: str) -> None:
        """See L{Teller.hint}."""
        with suppress(OSError):
            self._console.print(Text(printable(text), style="dim"), soft_wrap=True)

    def show(self, outcomes: Iterable[Outcome]) -> None:
        """See L{Teller.show}."""
        table = Table.grid(padding=(0, 2))
        for column in ("recipient", "result", "reply"):
            table.add_column(column, overflow="fold")
        for outcome in outcomes:
            word = _word(outcome)
            cells = Text(printable(str(outcome.recipient))), Text(word, _STYLES[word])
            table.add_row(*cells, Text(printable(str(outcome.reply)), "dim"))
        if table.row_count:
            with suppress(OSError):
                self._console.print(table)

    def progress(self, blocks: Iterable[bytes], size: int) -> Iterable[bytes]:
        """See L{Teller.progress}."""
        return blocks if size < LARGE else self._watched(blocks, size)

    def _watched(self, blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
        columns = TextColumn("Sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        # No thread of its own: it is drawn as blocks are taken, and gone when the last one is.
        with Progress(*columns, console=self._console, auto_refresh=False, transient=True) as progress:
            task = progress.add_task("Sending", total=size)
            taken = drawn = 0
            for block in blocks:
                yield block
                taken += len(block)
                if taken == size or taken - drawn >= size // _STEPS:
                    drawn = taken
                    progress.update(task, completed=taken, refresh=True)


def plain_or_terminal(terminal: TextIO | None, out: TextIO, err: TextIO) -> Teller:
    """The teller for a terminal, if there is one."""
    return Teller(out, err) if terminal is None else TerminalTeller(terminal)
