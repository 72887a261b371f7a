"""Who this node is, to others that share its database: an id that lasts as long as the state directory."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from mailagent.state import write_new

_ID = re.compile(r"[0-9a-f]{32}")


def node_id(state: str, entropy: bytes) -> str:
    """The id in C{state/node}; at the first start, one made of 16 random octets of C{entropy}. Blocks.

    @raise OSError: the file cannot be read or made.
    @raise ValueError: it does not hold an id.
    """
    path = os.path.join(state, "node")
    with suppress(FileExistsError):
        if not os.path.exists(path):
            write_new(path, entropy[:16].hex().encode() + b"\n")
    with open(path, encoding="ascii", errors="replace") as file:
        found = file.read(64).strip()
    if not _ID.fullmatch(found):
        raise ValueError(f"{path} does not hold a node's id; remove it to have a new one made")
    return found
