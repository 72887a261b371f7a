"""C{twistd mailagent}: options, and the parts joined."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import IServiceMaker
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import getPlugins

from mailagent.options import Options
from mailagent.parts import spare_what_stays
from mailagent.service import MailAgent
from mailagent.tap import makeService


def options(*words: str) -> Options:
    parsed = Options()
    parsed.parseOptions(list(words))
    return parsed


def test_both_plugins_are_found_and_lead_to_their_modules() -> None:
    plugins: list[Any] = list(getPlugins(IServiceMaker))
    found = {plugin.tapname: plugin.module for plugin in plugins if plugin.module.startswith("mailagent.")}
    assert found == {"mailagent": "mailagent.tap", "mailclient": "mailagent.clienttap"}


def test_without_a_configuration_it_runs_at_once_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reactor = MemoryReactorClock()
    service = makeService(options("--hostname", "mx.example"), reactor)
    assert isinstance(service, MailAgent)
    service.privilegedStartService()
    assert [(server[0], server[3]) for server in reactor.tcpServers] == [(2525, "127.0.0.1")]


def test_options_replace_what_the_file_says(tmp_path: Path) -> None:
    parsed = options(
        "--host", "a.example", "--host", "b.example", "--user", "ann", "--mailboxes", str(tmp_path), "--listen", "tcp:1"
    )
    overrides = parsed.overrides
    assert (list(overrides.hosts), list(overrides.users)) == (["a.example", "b.example"], ["ann"])
    assert (overrides.mailboxes, list(overrides.listen)) == (str(tmp_path), ["tcp:1"])


def test_a_wrong_configuration_ends_the_start_with_all_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[whitelist]\nhosts = ["a b"]\nusers = [3]\nmore = 1\n')
    with pytest.raises(SystemExit) as caught:
        makeService(options("--config", str(file)), MemoryReactorClock())
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{file}: whitelist.") for line in lines)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--log-format", "xml"], "twistd mailagent: --log-format: 'xml'; allowed: text, json (--help"),
        (["--log-level", "noise"], "twistd mailagent: --log-level: 'noise'; allowed: info, debug (--help"),
        (["--lisen", "tcp:1"], "twistd mailagent: option --lisen not recognized (--help"),
        (["extra"], "twistd mailagent: unexpected argument: extra (--help"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options(*words)
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith(line)


def test_where_twistd_was_given_an_observer_ours_stands_back() -> None:
    parsed: Any = Options()
    parsed.parent = {"logger": "some.observer"}
    assert parsed.observer is None
    parsed.parent = {"logfile": None, "nodaemon": True}
    assert parsed.observer is not None


def test_a_daemon_logs_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed: Any = Options()
    parsed.parent = {"logfile": None, "nodaemon": False}
    parsed.observer({"log_format": "hello", "log_time": 0.0})
    assert "hello" in (tmp_path / "twistd.log").read_text()
    parsed.parent = {"logfile": "-", "nodaemon": False}
    with pytest.raises(SystemExit):
        _ = parsed.observer


def test_a_log_that_cannot_be_written_ends_the_start_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parsed: Any = options()
    parsed.parent = {"logfile": "/nonexistent/log", "nodaemon": True}
    with pytest.raises(SystemExit) as caught:
        makeService(parsed, MemoryReactorClock())
    assert caught.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_pid_file_that_twistd_could_not_write_ends_the_start_with_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    parsed: Any = Options()
    parsed.parent = {"pidfile": "twistd.pid", "rundir": str(tmp_path)}
    parsed.parseOptions([])
    parsed.parent = {"pidfile": "", "rundir": "/nonexistent"}
    parsed.parseOptions([])
    parsed.parent = {"pidfile": "twistd.pid", "rundir": "/nonexistent"}
    with pytest.raises(SystemExit) as caught:
        parsed.parseOptions([])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert (said.count("\n"), said.startswith("cannot write twistd's pid file /nonexistent/twistd.pid: ")) == (1, True)


def test_what_the_start_has_made_is_not_searched_for_garbage_again() -> None:
    before = gc.get_freeze_count()
    spare_what_stays()
    try:
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
