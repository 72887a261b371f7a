"""A message that is being written, and the RFC 5322 message it becomes.

The standard library's C{email} builds it. What comes out is ASCII with CRLF line ends, lines of at most 998 octets
and no NUL: any server can take it, whatever it offers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email import policy
from email.header import Header
from email.message import EmailMessage

import attrs

from mailagent.compose.correspondent import Correspondent
from mailagent.envelope.address import Address

_WIRE = policy.SMTP.clone(cte_type="7bit", refold_source="none")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ATOMS = re.compile(r"[\w!#$%&'*+/^`{|}~-]{1,60}(?: [\w!#$%&'*+/^`{|}~-]{1,60}){,3}\Z", re.ASCII)


@attrs.frozen
class Draft:
    """Who writes what to whom. C{subject} and C{body} are any text; surrogates in it become question marks."""

    sender: Correspondent
    to: tuple[Correspondent, ...] = ()
    cc: tuple[Correspondent, ...] = ()
    bcc: tuple[Correspondent, ...] = ()
    subject: str = ""
    body: str = ""

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everybody the message goes to, each once."""
        everybody = (*self.to, *self.cc, *self.bcc)
        return tuple({(who.address.local, who.address.host): who.address for who in everybody}.values())

    def replacing(self, recipient: Address, others: Iterable[Correspondent]) -> Draft:
        """The draft with C{others} in each place of C{recipient}."""
        others = tuple(others)

        def replaced(group: tuple[Correspondent, ...]) -> tuple[Correspondent, ...]:
            return tuple(new for who in group for new in (others if who.address == recipient else (who,)))

        return attrs.evolve(self, to=replaced(self.to), cc=replaced(self.cc), bcc=replaced(self.bcc))

    def on_the_wire(self, timestamp: float, message_id: str) -> bytes:
        """The message as it is sent. Nothing in it tells of the Bcc recipients.

        @param timestamp: seconds since the epoch, for C{Date}.
        @param message_id: what stands before the C{@} of C{Message-ID}.
        """
        return self._message(timestamp, message_id).as_bytes(policy=_WIRE)

    def for_keeping(self, timestamp: float, message_id: str) -> bytes:
        """The message as it is kept on disk: LF line ends, and Bcc with the rest, so that it can be sent later."""
        message = self._message(timestamp, message_id)
        if self.bcc:
            message.set_raw("Bcc", _address_list(self.bcc))
        return message.as_bytes(policy=_WIRE.clone(linesep="\n"))

    def _message(self, timestamp: float, message_id: str) -> EmailMessage:
        message = EmailMessage(policy=_WIRE)
        message["Date"] = datetime.fromtimestamp(timestamp, UTC).astimezone()
        message.set_raw("From", _address_list([self.sender]))
        for field, group in (("To", self.to), ("Cc", self.cc)):
            if group:
                message.set_raw(field, _address_list(group))
        message["Subject"] = " ".join(_CONTROL.sub(" ", _utf_8(self.subject)).split())
        message["Message-ID"] = f"<{message_id}@{self.sender.address.domain}>"
        # NUL may not be sent (RFC 5321 section 4.5.2): such a text goes encoded.
        message.set_content(_utf_8(self.body), charset="utf-8", cte="base64" if "\0" in self.body else None)
        return message


def _address_list(group: Iterable[Correspondent]) -> str:
    """The value of an address field, one address a line.

    Folded here, and kept from C{email}'s own folding: that takes quoted local parts apart.
    """
    return ",\n ".join(f"{_phrase(who.name)} <{who.address}>" if who.name else str(who.address) for who in group)


def _phrase(name: str) -> str:
    """A display name (RFC 5322 section 3.2.5), as encoded words (RFC 2047) where it is more than a little ASCII."""
    if _ATOMS.match(name):
        return name
    if name.isascii() and name.isprintable() and len(name) < 60:
        return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return Header(_utf_8(name), "utf-8", maxlinelen=72).encode()


def _utf_8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
