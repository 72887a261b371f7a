"""A certificate and its key, read from PEM files and made into a context for TLS.

What is weak is not offered: TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3 (Mozilla's
"intermediate" set, RFC 9325); no compression, no renegotiation, no session tickets.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion

_CIPHERS = AcceptableCiphers.fromOpenSSLCipherString(
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
#: More than any chain with its key needs.
_MAX_FILE = 1024 * 1024


class CertificateUnusable(Exception):
    """A certificate or key cannot be used; the text is one line and names the file."""


@attrs.frozen
class CertificateFiles:
    """The paths of a certificate (with its chain) and of its key; they may be one file."""

    certificate: str
    key: str

    def signature(self) -> tuple[object, ...]:
        """What differs once a file was replaced or written to."""
        return tuple(map(_signature, (self.certificate, self.key)))

    def read(self) -> Pem:
        """What is in them. Blocks.

        @raise CertificateUnusable: one cannot be read.
        """
        return Pem(_read(self.certificate), _read(self.key))


@attrs.frozen
class Pem:
    """The octets of a certificate with its chain, and of its key, in PEM form. No log gets them."""

    certificate: bytes = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)


@attrs.frozen
class LoadedCertificate:
    """A certificate ready for use: its C{context}, and until when it is valid.

    Pickled it is what it was made of, the key as well: for another process of this server, and nobody else.
    """

    context: SSL.Context
    until: datetime
    _files: CertificateFiles
    _pem: Pem

    def __reduce__(self) -> tuple[Any, ...]:
        return load, (self._files, self._pem)


def load(files: CertificateFiles, pem: Pem | None = None) -> LoadedCertificate:
    """Make a certificate, its chain and its key ready for use. Blocks.

    @param pem: what the files held when they were good; by default, they are read.
    @raise CertificateUnusable: a file cannot be read, holds something else, or the two do not belong together. Nothing
        else is raised: this runs in handshakes, and cryptography and OpenSSL have many words for no.
    """
    try:
        return _load(files, pem or files.read())
    except CertificateUnusable:
        raise
    except Exception as error:
        raise CertificateUnusable(f"{files.certificate}: cannot be used: {error or type(error).__name__}") from None


def _load(files: CertificateFiles, pem: Pem) -> LoadedCertificate:
    # CertificateOptions is typed for pyOpenSSL's own classes, which pyOpenSSL itself would see no more.
    chain: list[Any] = list(_chain(files.certificate, pem.certificate))
    key: Any = _key(files.key, pem.key)
    if chain[0].public_key() != key.public_key():
        raise CertificateUnusable(f"{files.key}: not the key of the certificate in {files.certificate}")
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        raiseMinimumTo=TLSVersion.TLSv1_2,
        acceptableCiphers=_CIPHERS,
    )
    context = options.getContext()
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    return LoadedCertificate(context, chain[0].not_valid_after_utc, files, pem)


def _chain(path: str, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateUnusable(f"{path}: no certificate in PEM form in it") from None


def _key(path: str, content: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise CertificateUnusable(
            f"{path}: the key is encrypted, and there is nobody to ask for its password"
        ) from None
    except Exception:  # whatever the parsers say of it; their words could quote the key
        raise CertificateUnusable(f"{path}: no private key in PEM form in it") from None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE)
    except OSError as error:
        raise CertificateUnusable(f"{path}: {error.strerror}") from None


def _signature(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_size, found.st_mtime_ns
