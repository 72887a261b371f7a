"""C{mailagent reload}."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailagent.cli.main import main
from mailagent.state import PidFile, make_directory


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The signals that were sent, in a world where we are the server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda number, which: signals.append((number, which)))
    make_directory("state")
    holder = PidFile("state")
    assert holder.claim()
    yield signals
    holder.release()


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["reload", *options])


def test_it_tells_the_server_of_the_configured_state_directory(sent: list[tuple[int, int]]) -> None:
    result = run()
    assert (result.exit_code, sent) == (0, [(os.getpid(), signal.SIGHUP)])
    assert result.output == f"told server {os.getpid()} to reload; its log says what changed\n"


def test_a_state_directory_can_be_named(sent: list[tuple[int, int]], tmp_path: Path) -> None:
    Path("mailagent.toml").write_text("nonsense")
    assert run("--state", "state").exit_code == 0
    assert len(sent) == 1


def test_a_configuration_that_is_named_is_checked_whatever_the_state_directory(sent: list[tuple[int, int]]) -> None:
    Path("other.toml").write_text("nonsense")
    assert run("--state", "state", "--config", "other.toml").exit_code == 1
    assert sent == []


def test_without_a_server_it_says_so(sent: list[tuple[int, int]], tmp_path: Path) -> None:
    result = run("--state", "other")
    assert result.exit_code == 1
    assert result.output == f"Error: no server runs with the state directory {tmp_path}/other\n"
    assert sent == []


def test_a_wrong_configuration_is_told_and_the_server_is_not(sent: list[tuple[int, int]]) -> None:
    Path("mailagent.toml").write_text("[limits]\nerror = 3\nerrors = 0")
    result = run()
    assert result.exit_code == 1
    assert "limits.errors" in result.output
    assert "limits.error:" in result.output
    assert sent == []


def test_a_server_that_is_not_ours_is_told(sent: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int, which: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    result = run()
    assert result.exit_code == 1
    assert result.output.endswith("/state: Operation not permitted\n")
