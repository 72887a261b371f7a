"""Between our L{Address} and the C{smtp.Address} that Twisted's delivery interfaces speak of."""

from __future__ import annotations

from twisted.mail import smtp

from mailagent.envelope.address import Address
from mailagent.smtp.grammar import parse_address
from mailagent.smtp.parameters import MailParameters, RcptParameters


class Path(smtp.Address):
    """A parsed path as the C{smtp.Address} third-party deliveries expect.

    @ivar address: the L{Address} it stands for; C{None} for the null reverse-path.
    @ivar parameters: what came with it in MAIL or RCPT.
    """

    def __init__(
        self,
        address: Address | None,
        default_domain: bytes = b"",
        parameters: MailParameters | RcptParameters | None = None,
    ) -> None:
        self.address = address
        self.parameters = parameters
        self.local = address.quoted_local.encode() if address else b""
        self.domain = (address.domain.encode() or default_domain) if address else b""
        self.addrstr = f"<{address or ''}>".encode()


def address_of(path: smtp.Address) -> Address | None:
    """The L{Address} of a path, be it ours or a stock session's; C{None} for the null reverse-path.

    @raise mailagent.smtp.grammar.SyntaxFault: a stock session let through what is no address.
    """
    if "address" in vars(path):  # a copy of a Path keeps its attributes, not its class
        address: Address | None = vars(path)["address"]
        return address
    text = bytes(path).decode("utf-8", "replace")
    return parse_address(text) if text else None
