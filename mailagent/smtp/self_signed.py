"""Certificates of our own making: nobody has to trust them, and mail is encrypted all the same (RFC 7435)."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mailagent.envelope.address import canonical_domain

_VALID = timedelta(days=3650)
#: A clock may be a little behind ours.
_EARLIER = timedelta(days=1)
_MAX_COMMON_NAME = 64


def self_signed(hostname: str, now: datetime) -> tuple[bytes, bytes]:
    """A certificate for one host, valid for ten years, and its key (ECDSA on P-256), both in PEM form.

    @param now: with its time zone.
    @raise ValueError: C{hostname} is not a domain name.
    """
    host = canonical_domain(hostname)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:_MAX_COMMON_NAME])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private
