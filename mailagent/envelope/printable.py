"""Text from elsewhere, made fit to be shown on one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """C{text} with everything that could move a cursor, end a line or fail to encode escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
