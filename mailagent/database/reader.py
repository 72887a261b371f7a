"""Looking into the database, in threads: each look is one transaction, and changes nothing.

A connection that has broken meanwhile is replaced without a word: a look may run twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from twisted.internet.defer import Deferred

from mailagent.database.trouble import DatabaseLost, trouble

_T = TypeVar("_T")


@attrs.frozen
class Reader:
    """See the module.

    @ivar engine: from L{mailagent.database.engine.for_reading}.
    @ivar run_in_thread: calls a function with arguments in a small pool of threads; a C{Deferred} of its result.
    """

    _engine: sa.Engine
    _run_in_thread: Callable[..., Deferred[Any]]

    def run(self, job: Callable[[sa.Connection], _T]) -> Deferred[_T]:
        """Have C{job} look. The C{Deferred} fails with what it raised, or with
        L{mailagent.interfaces.StorageFailed}."""
        return self._run_in_thread(self.call, job)

    def call(self, job: Callable[[sa.Connection], _T]) -> _T:
        """The same for a thread, which waits."""
        try:
            return self._look(job)
        except DatabaseLost:
            return self._look(job)

    def _look(self, job: Callable[[sa.Connection], _T]) -> _T:
        with trouble(), self._engine.begin() as connection:
            return job(connection)
