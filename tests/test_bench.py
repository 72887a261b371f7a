"""The measurements run; what they show is for a quiet machine, and not judged here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.peers.server import DEADLINE, ROOT, environment


@pytest.mark.parametrize("state", ["", "--ehlo", "--tls"])
def test_idle_connections_are_measured_and_the_next_client_is_served(state: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.idle_connections", "--connections", "50", *state.split()],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert "stored after" in ran.stdout, ran.stderr
