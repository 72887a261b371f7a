"""The C{mailagent} command as such."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from mailagent import __version__
from mailagent.cli.main import main
from tests.peers.server import DEADLINE, environment


def test_it_tells_its_version_and_its_commands() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"mailagent, version {__version__}\n"
    help_text = CliRunner().invoke(main, ["-h"]).output
    assert {"reload", "tls"} <= {line.split()[0] for line in help_text.splitlines() if line.startswith("  ")}


def test_an_unknown_command_is_wrong_use() -> None:
    result = CliRunner().invoke(main, ["frobnicate"])
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_the_package_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "mailagent", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=DEADLINE, check=True)
    assert done.stdout == f"mailagent, version {__version__}\n"
