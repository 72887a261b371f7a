"""What is wrong with a configuration: each mistake by its path, in words an operator can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import attrs

from mailagent.envelope.printable import printable

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")
_MAX_SHOWN = 80
#: Within the quotation marks of a URL: all up to the last C{@}, and the values of parameters, whatever they are called,
#: as that may be C{password} spelt wrong.
_SECRET = re.compile(r"""(://)(?:[^"\\]|\\.)*(?=@)|([?&][^=&"]*=)(?:[^&"\\]|\\.)+""")


@attrs.frozen
class Problem:
    """One mistake: where (keys and list positions from the top), and what is wrong or allowed there."""

    path: KeyPath
    message: str


class ConfigError(Exception):
    """The configuration cannot be used. C{lines} holds one line for each mistake, ready to be printed."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def shown(value: object) -> str:
    """A value as TOML would have it, on one line and not too long; without a password that a URL has in it."""
    if isinstance(value, str | int | float | list | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    text = printable(text)
    if "://" in text:
        text = _SECRET.sub(r"\1\2***", text)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def dotted(path: KeyPath) -> str:
    """A path as TOML writes keys, with positions in brackets: C{hosts."example.org".users[1]}."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE_KEY.match(step) else shown(step))
    return text


def one_of(names: Iterable[str]) -> str:
    """Some names in a row, the rest as an ellipsis when there are many."""
    listed = list(names)
    return ", ".join(map(shown, listed[:10])) + (", …" if len(listed) > 10 else "")
