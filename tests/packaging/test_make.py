"""The README's C{make run}: from a fresh clone and Python alone to a server that takes mail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.packaging.conftest import INSTALL_TIME, Servers, clean_environment
from tests.packaging.test_install import assert_serves
from tests.peers.server import LOOPBACK, ROOT

pytestmark = pytest.mark.requires("make")

OPTIONS = f"ARGS=--log-format json --listen {LOOPBACK}"


def make(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [programs.path("make"), *arguments]
    return subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False)


def test_make_run_sets_itself_up_serves_and_stops_at_control_c(clone: Path, servers: Servers) -> None:
    server = servers.run([programs.path("make"), "run", f"PYTHON={sys.executable}", OPTIONS], clone)
    server.wait_for("listening", INSTALL_TIME)
    assert_serves(server)
    os.killpg(server.pid, signal.SIGINT)  # as a terminal does at ^C: to make and to what it runs
    server.wait()
    assert server.events("stopped")
    assert "Traceback" not in server.output + server.errors


def test_make_alone_lists_what_there_is_to_make() -> None:
    done = make(cwd=ROOT)
    assert done.returncode == 0
    for target in ("run", "test", "lint", "types", "format", "coverage", "docs", "clean"):
        assert f"make {target} " in done.stdout


@pytest.mark.parametrize(
    ("lacking", "clue"),
    [
        ("exit 127", "needs Python 3.11 or newer"),
        ('case "$2" in *version_info*) exit 1;; esac', "needs Python 3.11 or newer"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["no python", "an old python", "no venv"],
)
def test_a_machine_that_lacks_something_is_told_what(tmp_path: Path, lacking: str, clue: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{lacking}\n")
    python.chmod(0o755)
    done = make("run", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", cwd=ROOT)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(said) == 1
    assert clue in said[0]
