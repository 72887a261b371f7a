"""What the tests of TLS share: certificates in files, and handshakes in memory."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs
from cryptography import x509
from OpenSSL import SSL

from mailagent.smtp.certificate import CertificateFiles
from mailagent.smtp.self_signed import self_signed
from mailagent.smtp.tls import ServerTLS


def write_pair(directory: Path, host: str) -> CertificateFiles:
    """A fresh certificate for C{host} and its key; what was there before is replaced, as renewals do, by new files."""
    certificate, key = self_signed(host, datetime.now(UTC))
    files = CertificateFiles(str(directory / f"{host}.pem"), str(directory / f"{host}.key"))
    for path, content in ((files.key, key), (files.certificate, certificate)):
        replace(path, content)
    return files


def replace(path: str, content: bytes) -> None:
    """Put a new file in another's place."""
    new = Path(path + ".new")
    new.write_bytes(content)
    new.rename(path)


def names(certificate: x509.Certificate) -> list[str]:
    """The hosts a certificate is for."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


@attrs.frozen
class Handshake:
    """Both ends of a TLS connection, connected."""

    client: SSL.Connection
    server: SSL.Connection

    @property
    def certificate(self) -> x509.Certificate:
        """What the server has shown."""
        shown = self.client.get_peer_certificate(as_cryptography=True)
        assert shown is not None
        return shown

    def exchange(self, octets: bytes) -> bytes:
        """Send from client to server; what arrives."""
        self.client.send(octets)
        self.server.bio_write(self.client.bio_read(65536))
        return self.server.recv(65536)


def shake_hands(tls: ServerTLS, host: str = "", maximum: int | None = None) -> Handshake:
    """A client's handshake. @raise SSL.Error: one of the two has refused."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    if maximum is not None:
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(maximum)
        context.set_max_proto_version(maximum)
    client, server = SSL.Connection(context, None), tls.serverConnectionForTLS(None)
    client.set_connect_state()
    server.set_accept_state()
    if host:
        client.set_tlsext_host_name(host.encode())
    waiting = {client, server}
    for _ in range(6):
        for end, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                end.do_handshake()
                waiting.discard(end)
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    assert not waiting
    return Handshake(client, server)
