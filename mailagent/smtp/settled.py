"""Waiting for several results, of which there is nearly always one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList


def settled(waited_for: Sequence[Deferred[Any]]) -> Deferred[list[tuple[bool, Any]]]:
    """Wait for all of them, as C{DeferredList} does, which for a single one costs as much as the rest of a reply.

    @return: fires with whether each has succeeded, and its result or its C{Failure}; does not fail.
    """
    if len(waited_for) != 1:
        return DeferredList(waited_for, consumeErrors=True)
    return waited_for[0].addCallbacks(lambda result: [(True, result)], lambda failure: [(False, failure)])
