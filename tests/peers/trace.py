"""What C{strace -f -yy} has written of several processes: each call with when it began, and when it had returned."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")
_UNFINISHED = "<unfinished ...>"
_RESULT = re.compile(r"\) += (-?\d+)[^=]*$")


@attrs.define
class Call:
    """One call.

    @ivar pid: of the thread.
    @ivar words: its arguments, as strace has written them.
    @ivar begun: the number of the line at which it had not been made yet; C{ended}, at which it had returned. Two calls
        of which one C{ended} before the other had C{begun} were made in this order.
    @ivar succeeded: whether it has returned, and what is not an error.
    """

    pid: int
    name: str
    words: str
    begun: int
    ended: int = 1 << 62
    succeeded: bool = False

    def _return(self, number: int, rest: str) -> None:
        found = _RESULT.search(rest)
        self.ended, self.succeeded = number, found is not None and not found[1].startswith("-")

    def before(self, other: Call) -> bool:
        """Whether it had succeeded before the other one was made."""
        return self.succeeded and self.ended < other.begun


def calls(lines: Iterable[str]) -> list[Call]:
    """All of them, in the order in which they began."""
    found: list[Call] = []
    unfinished: dict[int, Call] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:
            continue
        pid, rest = int(match["pid"]), match["rest"]
        if match["resumed"]:
            call = unfinished.pop(pid)
            call.words += rest
            call._return(number, rest)
            continue
        call = Call(pid, match["name"], rest.removesuffix(_UNFINISHED), number)
        found.append(call)
        if rest.endswith(_UNFINISHED):
            unfinished[pid] = call
        else:
            call._return(number, rest)
    return found
