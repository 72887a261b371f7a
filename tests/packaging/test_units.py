"""The systemd units: sound, well locked up, and agreed with each other and with the settings."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

from mailagent.config import Limits
from tests import programs
from tests.peers.server import ROOT, TWISTD

UNITS = ROOT / "etc" / "systemd"
SERVICE = UNITS / "mailagent.service"
SOCKET = UNITS / "mailagent.socket"
INSTALLED = "/opt/mailagent/bin/twistd"
#: Ten times the highest exposure that systemd may find.
THRESHOLD = 20


def unit(path: Path) -> configparser.ConfigParser:
    """A unit's sections. Of a key that stands several times, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(path)
    return parser


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [programs.path("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.requires("systemd-analyze")
def test_verify_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    copies = []
    for path in (SERVICE, SOCKET):
        copies.append(tmp_path / path.name)
        # it looks for the program, and ours is not in /opt
        copies[-1].write_text(path.read_text().replace(INSTALLED, str(TWISTD)))
    done = analyze("verify", "--recursive-errors=no", *map(str, copies))
    # an unknown key is no failure to it: only silence is success
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.requires("systemd-analyze")
def test_the_sandbox_leaves_little_exposed() -> None:
    done = analyze("security", "--offline=yes", f"--threshold={THRESHOLD}", str(SERVICE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_memory_deny_write_execute_is_not_set() -> None:
    assert "MemoryDenyWriteExecute" not in unit(SERVICE)["Service"], "TLS needs cffi callbacks, which it forbids"


def test_the_service_runs_the_installed_program_unprivileged() -> None:
    service = unit(SERVICE)["Service"]
    assert service["ExecStart"].startswith(f"{INSTALLED} -n --pidfile= mailagent --config /etc/mailagent/")
    assert service["User"] not in ("", "root")


def test_the_service_takes_the_socket_by_its_name_and_family() -> None:
    socket = unit(SOCKET)["Socket"]
    endpoint = unit(SERVICE)["Service"]["ExecStart"].partition("--listen ")[2]
    family = "INET6" if socket["ListenStream"].startswith("[") else "INET"
    assert endpoint == f"systemd:domain={family}:name={socket['FileDescriptorName']}"


def test_systemd_waits_longer_for_a_stop_than_the_server_takes() -> None:
    assert int(unit(SERVICE)["Service"]["TimeoutStopSec"]) > Limits().stop_time
