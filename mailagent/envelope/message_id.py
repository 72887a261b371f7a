"""The one identifier by which a message is followed: reply, log, file name, trace header."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case: no i, l, o, u


def message_id(microseconds: int, entropy: int) -> str:
    """An identifier of 17 characters that sorts by time, unique over processes and restarts.

    @param microseconds: since the epoch; 11 characters hold it until the year 3111.
    @param entropy: random; its low 30 bits make the last 6 characters.
    """
    number = (microseconds << 30) | (entropy & (1 << 30) - 1)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(80, -1, -5))
