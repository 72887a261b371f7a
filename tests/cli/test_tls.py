"""C{mailagent tls self-signed}."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.x509 import load_pem_x509_certificates

from mailagent.cli.main import main
from mailagent.smtp.certificate import CertificateFiles, load
from tests.smtp.certificates import names


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["tls", "self-signed", *options])


def test_it_makes_a_certificate_and_says_what_to_write_into_the_configuration(directory: Path) -> None:
    result = run("--hostname", "mx.example")
    assert result.exit_code == 0
    tls = tomllib.loads(result.output)["tls"]
    assert tls == {"certificate": str(directory / "certificate.pem"), "key": str(directory / "key.pem")}
    load(CertificateFiles(**tls))
    (made,) = load_pem_x509_certificates((directory / "certificate.pem").read_bytes())
    assert names(made) == ["mx.example"]
    assert stat.S_IMODE((directory / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "certificate.pem").stat().st_mode) == 0o644


def test_without_a_name_it_is_the_machines(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "this.example")
    assert run("--certificate", "a.pem", "--key", "a.key").exit_code == 0
    (made,) = load_pem_x509_certificates((directory / "a.pem").read_bytes())
    assert names(made) == ["this.example"]


@pytest.mark.parametrize("there", ["certificate.pem", "key.pem"])
def test_nothing_is_overwritten_and_nothing_half_made(directory: Path, there: str) -> None:
    (directory / there).write_text("mine")
    result = run("--hostname", "mx.example")
    assert result.exit_code == 1
    assert result.output == f"Error: {there}: File exists; nothing was made\n"
    assert [path.name for path in directory.iterdir()] == [there]
    assert (directory / there).read_text() == "mine"


def test_a_directory_that_is_not_there_is_told() -> None:
    result = run("--hostname", "mx.example", "--key", "absent/key.pem")
    assert result.exit_code == 1
    assert "absent" in result.output
    assert "Traceback" not in result.output


def test_a_name_that_is_none_is_wrong_use(directory: Path) -> None:
    assert run("--hostname", "a b").exit_code == 2
    assert list(directory.iterdir()) == []
