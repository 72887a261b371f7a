"""What a C{Deferred} came to, for tests in which nothing has to be waited for."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")


def result(work: Deferred[_T] | Coroutine[Deferred[Any], Any, _T]) -> _T:
    """What a C{Deferred} that has fired came to, or a coroutine that need not wait; what it failed with is raised."""
    results: list[_T | Failure] = []
    (work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)).addBoth(results.append)
    (got,) = results
    return value(got)


def value(got: _T | Failure) -> _T:
    """What a callback that is for both has got; a failure is raised."""
    if isinstance(got, Failure):
        got.raiseException()
    return got
