"""Calls that several threads make at the same time, read from what strace has written of them."""

from __future__ import annotations

from tests.peers.trace import calls

_TRACE = """\
10 fsync(5</m/tmp/a> <unfinished ...>
11 linkat(AT_FDCWD</>, "a", AT_FDCWD</>, "b", 0) = 0
10 <... fsync resumed>) = 0
12 sendto(7<TCP:[127.0.0.1:25->127.0.0.1:4]>, "250 = good\\r\\n", 12, 0, NULL, 0) = 12
12 fsync(6</m/new>) = -1 EIO (Input/output error)
12 fsync(8</m/new> <unfinished ...>
12 +++ killed by SIGKILL +++
"""


def test_a_call_is_before_another_only_if_it_had_returned() -> None:
    sync, link, send, failed, cut = calls(_TRACE.splitlines())
    assert [each.name for each in (sync, link, send, failed, cut)] == ["fsync", "linkat", "sendto", "fsync", "fsync"]
    assert sync.words.startswith("5</m/tmp/a>")
    assert not sync.before(link)
    assert link.before(send)
    assert sync.before(send)


def test_a_call_that_failed_or_never_returned_is_before_nothing() -> None:
    *_, send, failed, cut = calls(_TRACE.splitlines())
    assert send.succeeded
    assert not failed.before(cut)
    assert not cut.succeeded
