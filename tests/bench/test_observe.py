"""What is seen of processes."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.observe import calls, family, memory, peak_memory

_SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 96.15    0.085449         854       100           fsync
  3.85    0.003422         171        20         3 fdatasync
------ ----------- ----------- --------- --------- ------------------
100.00    0.088871         740       120         3 total
"""


def test_calls_are_added_up_over_all_kinds() -> None:
    assert calls(_SUMMARY) == 120


def test_without_a_call_strace_writes_no_table() -> None:
    assert calls("") == 0


def test_a_family_is_a_process_and_all_below_it() -> None:
    say_child = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", say_child], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert family(parent.pid) == {parent.pid, child}
        finally:
            os.kill(child, 9)


def test_the_peak_is_what_a_process_has_at_least() -> None:
    assert memory(os.getpid()) > 2**20
    with peak_memory(os.getpid()) as peak:
        pass
    assert peak.octets > 2**20
