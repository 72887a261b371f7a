"""Certificates in files: what can be used, what cannot, and what is said of it."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates
from hypothesis import given
from hypothesis import strategies as st

from mailagent.smtp.certificate import CertificateFiles, CertificateUnusable, load
from mailagent.smtp.self_signed import self_signed
from tests.smtp.certificates import names, replace, write_pair

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)


def complaint(files: CertificateFiles) -> str:
    with pytest.raises(CertificateUnusable) as caught:
        load(files)
    return str(caught.value)


def test_a_certificate_and_its_key_are_read(tmp_path: Path) -> None:
    loaded = load(write_pair(tmp_path, "a.example"))
    assert loaded.until > datetime.now(UTC) + timedelta(days=3600)


def test_both_may_be_in_one_file_in_any_order(tmp_path: Path) -> None:
    certificate, key = self_signed("a.example", NOW)
    path = tmp_path / "both.pem"
    for content in (certificate + key, key + certificate):
        path.write_bytes(content)
        loaded = load(CertificateFiles(str(path), str(path)))
        assert loaded.until > NOW
        loaded.context.check_privatekey()


def test_one_that_was_read_goes_to_another_process_with_its_key_though_the_files_are_gone(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "mx.example")
    loaded = load(files)
    packed = pickle.dumps(loaded)
    for path in (files.certificate, files.key):
        Path(path).unlink()
    again = pickle.loads(packed)
    assert again.until == loaded.until
    again.context.check_privatekey()


def test_the_key_is_in_no_text_about_it(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(load(write_pair(tmp_path, "mx.example")))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a.example")
    assert complaint(CertificateFiles("/absent.pem", files.key)) == "/absent.pem: No such file or directory"
    assert complaint(CertificateFiles(files.certificate, str(tmp_path))) == f"{tmp_path}: Is a directory"


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = write_pair(tmp_path, "a.example"), write_pair(tmp_path, "b.example")
    said = complaint(CertificateFiles(one.certificate, other.key))
    assert said == f"{other.key}: not the key of the certificate in {one.certificate}"


def test_the_two_files_taken_for_each_other_are_told(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a.example")
    assert complaint(CertificateFiles(files.key, files.certificate)) == f"{files.key}: no certificate in PEM form in it"
    assert complaint(CertificateFiles(files.certificate, files.certificate)).endswith(
        "no private key in PEM form in it"
    )


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a.example")
    key = load_pem_private_key(Path(files.key).read_bytes(), None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    replace(files.key, encrypted)
    assert "encrypted" in complaint(files)


@pytest.mark.parametrize("make", [ed25519.Ed25519PrivateKey.generate, x25519.X25519PrivateKey.generate])
def test_a_key_of_another_kind_is_refused(
    tmp_path: Path, make: type[ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey]
) -> None:
    files = write_pair(tmp_path, "a.example")
    other = make()
    replace(files.key, other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert complaint(files).startswith(files.key)


def test_an_rsa_key_that_is_too_short_is_refused_by_name(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a.example")
    short = rsa.generate_private_key(65537, 1024)
    replace(files.key, short.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    assert complaint(files).startswith(files.key)


@given(content=st.binary(max_size=200), framed=st.booleans(), as_key=st.booleans())
def test_whatever_is_in_a_file_there_is_one_line_about_it(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, framed: bool, as_key: bool
) -> None:
    directory = tmp_path_factory.getbasetemp()
    good = write_pair(directory, "good.example")
    kind = b"PRIVATE KEY" if as_key else b"CERTIFICATE"
    bad = directory / "bad.pem"
    bad.write_bytes(b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, content, kind) if framed else content)
    files = CertificateFiles(good.certificate, str(bad)) if as_key else CertificateFiles(str(bad), good.key)
    said = complaint(files)
    assert said.startswith(f"{bad}: ")
    assert "\n" not in said


def test_a_replaced_or_rewritten_file_is_noticed(tmp_path: Path) -> None:
    files = write_pair(tmp_path, "a.example")
    seen = files.signature()
    assert files.signature() == seen
    write_pair(tmp_path, "a.example")
    replaced = files.signature()
    assert replaced != seen
    os.utime(files.key, ns=(0, 0))
    assert files.signature() != replaced
    os.unlink(files.key)
    assert files.signature() != replaced


def test_a_self_signed_certificate_is_for_its_host_for_ten_years() -> None:
    certificate, key = self_signed("Bücher.example", NOW)
    (made,) = load_pem_x509_certificates(certificate)
    assert names(made) == ["xn--bcher-kva.example"]
    assert made.not_valid_before_utc < NOW
    assert (made.not_valid_after_utc - NOW).days == 3650
    private = load_pem_private_key(key, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.curve.name == "secp256r1"


def test_a_long_hosts_certificate_has_its_whole_name() -> None:
    host = ".".join(["a" * 60] * 4)
    (made,) = load_pem_x509_certificates(self_signed(host, NOW)[0])
    assert names(made) == [host]


def test_whatever_the_libraries_say_of_it_it_is_one_kind_of_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise UnsupportedAlgorithm("curve 1.3.36.3.3.2.8.1.1.1 is not supported")

    files = write_pair(tmp_path, "a.example")
    monkeypatch.setattr("mailagent.smtp.certificate._chain", no)
    assert complaint(files).endswith("cannot be used: curve 1.3.36.3.3.2.8.1.1.1 is not supported")
