"""The server's side of TLS: which certificate a client gets, and new ones taken up as their files change.

What can be relied on:

  1. A handshake uses the newest certificate that could be read; sessions that are open keep theirs.
  2. What cannot be used changes nothing: the certificate from before stays, and the log says so once.
  3. What one process uses, another can begin with, whatever has become of the files (L{ServerTLS.in_use}).
  4. A client that names a host (SNI) gets that host's certificate; any other, the default one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from mailagent import log as events
from mailagent.smtp.certificate import CertificateFiles, CertificateUnusable, LoadedCertificate, load
from mailagent.smtp.half_close import HalfClosingConnection

#: Seconds between two looks at the files.
_LOOK_EVERY = 5.0


@attrs.frozen
class CertificatePlan:
    """The files of the C{default} certificate, and of further ones by the host's canonical name."""

    default: CertificateFiles
    hosts: Mapping[str, CertificateFiles] = attrs.field(factory=dict)

    def __iter__(self) -> Iterator[tuple[str, CertificateFiles]]:
        """Each host and its files; C{""} is the default."""
        yield "", self.default
        yield from self.hosts.items()


@attrs.frozen
class _Certificate:
    """A certificate in use, and what its files looked like when they were last read, with success or without."""

    files: CertificateFiles
    seen: tuple[object, ...]
    loaded: LoadedCertificate


#: Certificates in use, by host.
Certificates = Mapping[str, _Certificate]


def read(plan: CertificatePlan) -> Certificates:
    """Read all certificates of a plan. Blocks.

    @raise CertificateUnusable: one of them.
    """
    found = {}
    for host, files in plan:
        seen = files.signature()
        found[host] = _Certificate(files, seen, load(files))
    return found


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """Makes the TLS connections of all listeners. L{use} must come before the first.

    @param seconds: tells the time, in seconds from some moment.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._looked = seconds()
        self._certificates: dict[str, _Certificate] = {}

    def use(self, certificates: Certificates) -> None:
        """Use these certificates, in the place of those before, from the next handshake on."""
        before, self._certificates = self._certificates, dict(certificates)
        self._looked = self._seconds()
        for host, certificate in certificates.items():
            certificate.loaded.context.set_tlsext_servername_callback(self._choose)
            if host in before and before[host].seen != certificate.seen:
                self._tell_renewed(certificate.files, certificate.loaded)

    def in_use(self) -> Certificates:
        """The certificates that a handshake would use now. They can be pickled."""
        self._look()
        return dict(self._certificates)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See C{IOpenSSLServerConnectionCreator}."""
        self._look()
        return HalfClosingConnection(self._certificates[""].loaded.context, protocol)

    def _choose(self, connection: SSL.Connection) -> None:
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        certificate = self._certificates.get(name)
        if certificate is not None:
            connection.set_context(certificate.loaded.context)

    def _look(self) -> None:
        if self._seconds() - self._looked >= _LOOK_EVERY:
            self._looked = self._seconds()
            self._renew()

    def _renew(self) -> None:
        """Read those certificates again whose files have changed. A look at a file that has not is one C{stat}."""
        for host, old in self._certificates.items():
            seen = old.files.signature()
            if seen != old.seen:
                self._certificates[host] = attrs.evolve(old, seen=seen, loaded=self._read_again(old))

    def _read_again(self, old: _Certificate) -> LoadedCertificate:
        try:
            loaded = load(old.files)
        except CertificateUnusable as error:
            events.CERTIFICATE_KEPT(self._log, reason=str(error), until=old.loaded.until.date())
            return old.loaded
        loaded.context.set_tlsext_servername_callback(self._choose)
        self._tell_renewed(old.files, loaded)
        return loaded

    def _tell_renewed(self, files: CertificateFiles, loaded: LoadedCertificate) -> None:
        events.CERTIFICATE_RENEWED(self._log, certificate=files.certificate, until=loaded.until.date())
