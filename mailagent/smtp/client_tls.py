"""TLS as a client asks for it: the server's certificate is verified against its name, always."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
from OpenSSL.SSL import Error as TLSError
from service_identity import VerificationError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, TLSVersion, optionsForClientTLS, trustRootFromCertificates

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@attrs.frozen
class ClientTLS:
    """How to protect a session.

    @ivar creator: makes the connection, and verifies who is at the other end.
    @ivar implicit: TLS from the first octet (RFC 8314 section 3.3) instead of STARTTLS (RFC 3207).
    """

    creator: IOpenSSLClientConnectionCreator
    implicit: bool = False


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
