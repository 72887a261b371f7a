"""Mailbox addresses (RFC 5321 section 4.1.2) and when two domains are the same one."""

from __future__ import annotations

import re
from functools import lru_cache

import attrs
import idna

_DOT_STRING = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*\Z")

#: Octets, RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.2.
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255


@lru_cache(maxsize=4096)
def canonical_domain(domain: str) -> str:
    """The form in which two spellings of one domain are equal: lower case, A-labels (RFC 5890).

    What is ASCII is only lowered: an address literal (``[192.0.2.1]``), and A-labels too, for there are domains in the
    DNS, and they send mail, whose A-labels IDNA 2008 would not have made.

    @raise ValueError: C{domain} is not a domain name, as IDNA understands it.
    """
    if len(domain) > MAX_DOMAIN:
        raise ValueError("a domain name is at most 255 octets")
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise ValueError(f"{domain!r} is not a domain name: {error}") from None


@lru_cache(maxsize=4096)  # an address is written a dozen times on its way
def _quoted(local: str) -> str:
    if _DOT_STRING.match(local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


@attrs.frozen
class Address:
    """A mailbox address: the C{local} part without quoting, and the C{domain} as it was written.

    C{domain} is empty only for the bare C{<postmaster>} (RFC 5321 section 4.1.1.3). The null
    reverse-path is not an address: where a reverse-path is meant, it is C{None}.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        """The address as it stands in a path, the local part quoted where it must be."""
        local = _quoted(self.local)
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def quoted_local(self) -> str:
        """The local part as a Dot-string if it is one, else as a Quoted-string (RFC 5321 section 4.1.2)."""
        return _quoted(self.local)

    @property
    def host(self) -> str:
        """The domain in canonical form (see L{canonical_domain}).

        @raise ValueError: the domain is not one.
        """
        return canonical_domain(self.domain)
