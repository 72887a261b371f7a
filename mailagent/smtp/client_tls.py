"""TLS as a client asks for it: the server's certificate verified against its name, or nobody's looked at."""

from __future__ import annotations

import re
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import attrs
from OpenSSL import SSL
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailagent.envelope.address import canonical_domain

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@attrs.frozen
class ClientTLS:
    """How to protect a session.

    @ivar creator: makes the connection, and verifies who is at the other end (not so L{opportunistic}'s).
    @ivar implicit: TLS from the first octet (RFC 8314 section 3.3) instead of STARTTLS (RFC 3207).
    @ivar optional: where STARTTLS is not to be had, go on in the clear. (A handshake that fails ends the connection all
        the same: whoever wants to come again without TLS may.)
    """

    creator: IOpenSSLClientConnectionCreator
    implicit: bool = False
    optional: bool = False

    @property
    def verified(self) -> bool:
        """Whether a session under this TLS is with the server that was meant."""
        return not isinstance(self.creator, _Unverified)


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """Asks for a name, and takes whoever answers."""

    def __init__(self, server_name: str) -> None:
        self._name = None if _is_address(server_name) else canonical_domain(server_name.rstrip(".")).encode("ascii")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See C{IOpenSSLClientConnectionCreator}."""
        connection = SSL.Connection(_unverifying(), None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


@cache
def _unverifying() -> SSL.Context:
    return CertificateOptions(verify=False, raiseMinimumTo=TLSVersion.TLSv1_2).getContext()


def opportunistic(server_name: str) -> IOpenSSLClientConnectionCreator:
    """TLS 1.2 or later with whoever is there (RFC 7435): better than none, proof against listeners only.

    @param server_name: what to ask for, in case the server has several certificates: a domain name, or an IP address,
        which is not told (RFC 6066 section 3).
    @raise ValueError: it is no name.
    """
    creator: IOpenSSLClientConnectionCreator = _Unverified(server_name)
    return creator


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def verified(server_name: str, authorities: Path | None = None) -> IOpenSSLClientConnectionCreator:
    """TLS 1.2 or later with a server that proves to be C{server_name}, a domain name or an IP address.

    @param authorities: a file of PEM certificates to trust instead of the system's.
    @raise OSError: the file cannot be read.
    @raise ValueError: it holds no certificate, or C{server_name} is no name.
    """
    trust = None
    if authorities is not None:
        found = _CERTIFICATE.findall(authorities.read_bytes())
        if not found:
            raise ValueError("no PEM certificate in it")
        try:
            trust = trustRootFromCertificates([Certificate.loadPEM(pem) for pem in found])
        except Exception as error:  # whatever pyOpenSSL and cryptography have for it
            raise ValueError(f"a certificate in it cannot be read: {error}") from error
    return optionsForClientTLS(server_name, trust, extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2})


def tls_complaint(error: BaseException | None) -> str | None:
    """What a failure of TLS means, for people; C{None} if C{error} is another."""
    if isinstance(error, VerificationError):
        return "the server's certificate is not for the name it was called by"
    if not isinstance(error, TLSError):
        return None
    reasons = [str(entry[-1]) for entry in (error.args[0] if error.args else ())]
    if "certificate verify failed" in reasons:
        return "the server's certificate is not trusted (its issuer is unknown, or it has expired)"
    return f"TLS failed: {', '.join(reasons) or 'no reason given'}"
