"""TLS as clients see it: which certificate, which protocol, and what happens when files change."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.task import Clock

from mailagent.smtp.certificate import CertificateFiles, CertificateUnusable
from mailagent.smtp.tls import CertificatePlan, ServerTLS, read
from tests.maildir.support import Events
from tests.smtp.certificates import names, replace, shake_hands, write_pair


class Served:
    """A default certificate and one for another host, in use."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.clock = Clock()
        self.events = Events()
        self.files = write_pair(directory, "mx.example")
        self.other = write_pair(directory, "other.example")
        self.tls = ServerTLS(self.clock.seconds)
        monkeypatch.setattr(ServerTLS, "_log", self.events.log)
        self.tls.use(read(CertificatePlan(self.files, {"other.example": self.other})))

    def serial(self, host: str = "") -> int:
        return shake_hands(self.tls, host).certificate.serial_number


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    return Served(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("", "mx.example"),
        ("mx.example", "mx.example"),
        ("unknown.example", "mx.example"),
        ("other.example", "other.example"),
        ("OTHER.Example.", "other.example"),
    ],
)
def test_the_certificate_is_that_of_the_host_asked_for(served: Served, asked: str, shown: str) -> None:
    assert names(shake_hands(served.tls, asked).certificate) == [shown]


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_a_version_before_1_2_is_refused(served: Served, version: int) -> None:
    with pytest.raises(SSL.Error):
        shake_hands(served.tls, maximum=version)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_1_2_and_1_3_are_spoken(served: Served, version: int) -> None:
    assert shake_hands(served.tls, maximum=version).exchange(b"EHLO x\r\n") == b"EHLO x\r\n"


def test_a_renewed_certificate_is_taken_up_and_open_sessions_go_on(served: Served) -> None:
    before = served.serial("other.example")
    session = shake_hands(served.tls, "other.example")
    write_pair(served.directory, "other.example")
    assert served.serial("other.example") == before  # a look every few seconds will do
    served.clock.advance(5)
    assert served.serial("other.example") != before
    assert session.exchange(b"NOOP\r\n") == b"NOOP\r\n"
    assert served.events.named == ["certificate_renewed"]


def test_files_that_have_not_changed_are_not_read_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.smtp.tls.load", lambda files, *_: pytest.fail(f"read {files}"))
    served.clock.advance(5)
    served.serial()


def test_a_new_certificate_that_cannot_be_used_keeps_the_old_one_and_is_told_once(served: Served) -> None:
    before = served.serial()
    replace(served.files.certificate, b"rubbish")
    for _ in range(3):
        served.clock.advance(5)
        assert served.serial() == before
    assert served.events.named == ["certificate_kept"]
    write_pair(served.directory, "mx.example")
    served.clock.advance(5)
    assert served.serial() != before
    assert served.events.named == ["certificate_kept", "certificate_renewed"]


def test_the_other_hosts_are_still_served_after_the_default_certificate_was_renewed(served: Served) -> None:
    write_pair(served.directory, "mx.example")
    served.clock.advance(5)
    assert names(shake_hands(served.tls, "other.example").certificate) == ["other.example"]


def hand_down(served: Served) -> ServerTLS:
    """What another process serves with."""
    successor = ServerTLS(served.clock.seconds)
    successor.use(pickle.loads(pickle.dumps(served.tls.in_use())))
    return successor


def test_another_process_serves_with_what_is_in_use_though_the_files_are_bad(served: Served) -> None:
    before = served.serial()
    Path(served.files.key).unlink()
    replace(served.other.certificate, b"rubbish")
    served.clock.advance(5)
    successor = hand_down(served)
    assert shake_hands(successor).certificate.serial_number == before
    assert names(shake_hands(successor, "other.example").certificate) == ["other.example"]
    write_pair(served.directory, "mx.example")
    served.clock.advance(5)
    assert shake_hands(successor).certificate.serial_number != before


def test_who_makes_no_connections_hands_down_what_is_newest_too(served: Served) -> None:
    before = served.serial()
    write_pair(served.directory, "mx.example")
    served.clock.advance(5)
    served.tls.in_use()
    Path(served.files.key).unlink()
    served.clock.advance(5)
    assert shake_hands(hand_down(served)).certificate.serial_number != before


def test_one_bad_certificate_among_several_leaves_all_as_they_were(served: Served) -> None:
    before = served.serial()
    write_pair(served.directory, "mx.example")
    with pytest.raises(CertificateUnusable):
        read(CertificatePlan(served.files, {"bad.example": CertificateFiles("/absent", "/absent")}))
    assert served.serial() == before
