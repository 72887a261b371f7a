"""Which certificates are asked for, and the one that stands in."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import attrs

from mailagent.certificates import plan
from mailagent.config import CertificateSettings, Config, TlsSettings
from mailagent.config.values import ConfiguredPath, Domain
from mailagent.smtp.certificate import CertificateFiles, load
from tests.memory_server import make_config

NOW = datetime.now(UTC)


def config(state: Path, **tls: object) -> Config:
    return attrs.evolve(make_config(), state=ConfiguredPath(str(state)), tls=TlsSettings(**tls))  # type: ignore[arg-type]


def test_without_a_certificate_one_is_made_and_kept(tmp_path: Path) -> None:
    first = plan(config(tmp_path), NOW)
    own = tmp_path / "self-signed.pem"
    content = own.read_bytes()
    assert first.default == CertificateFiles(str(own), str(own))
    load(first.default)
    assert plan(config(tmp_path), NOW) == first
    assert own.read_bytes() == content


def test_a_server_that_was_faster_has_made_it(tmp_path: Path) -> None:
    (tmp_path / "self-signed.pem").symlink_to(tmp_path / "soon")  # there, and to os.path.exists not yet
    assert plan(config(tmp_path), NOW).default.key == str(tmp_path / "self-signed.pem")


def test_with_certificates_none_is_made_and_hosts_are_in_canonical_form(tmp_path: Path) -> None:
    other = CertificateSettings(ConfiguredPath("/o.pem"), ConfiguredPath("/o.key"))
    hosts = {Domain("Bücher.example"): other}
    made = plan(config(tmp_path, certificate="/c.pem", key="/k.pem", hosts=hosts), NOW)
    assert made.default == CertificateFiles("/c.pem", "/k.pem")
    assert made.hosts == {"xn--bcher-kva.example": CertificateFiles("/o.pem", "/o.key")}
    assert list(tmp_path.iterdir()) == []
