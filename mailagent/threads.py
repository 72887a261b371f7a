"""Threads for what blocks, and the way there from the reactor's thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool


def daemon_pool(name: str, most: int) -> ThreadPool:
    """At most so many threads, made as they are needed. They may hang, on a name server or a disk: daemons
    (C{Thread.daemon}), so that this does not outlast a stop."""
    pool = ThreadPool(minthreads=0, maxthreads=most, name=name)
    pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    return pool


def in_pool(reactor: Any, pool: ThreadPool) -> Callable[..., Deferred[Any]]:
    """What calls a function, with its arguments, in a thread of C{pool}; its result comes in the reactor's."""
    return partial(deferToThreadPool, reactor, pool)
