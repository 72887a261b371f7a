"""A message that is being written, and the RFC 5322 message it becomes.

The standard library's C{email} builds it. What comes out is ASCII with CRLF line ends, lines of at most 998 octets
and no NUL: any server can take it, whatever it offers. The one exception is an address with a local part beyond ASCII
in the header: that makes the header UTF-8 (RFC 6532).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email import policy
from email.header import Header
from email.message import EmailMessage, MIMEPart

import attrs

from mailagent.compose.attachment import Attachment
from mailagent.compose.content import Content
from mailagent.compose.correspondent import Correspondent
from mailagent.envelope.address import Address

_WIRE = policy.SMTP.clone(cte_type="7bit", refold_source="none")
#: Names, in a message that is kept, those recipients who have it already.
ACCEPTED = "X-Mailagent-Accepted"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ATOMS = re.compile(r"[\w!#$%&'*+/^`{|}~-]{1,60}(?: [\w!#$%&'*+/^`{|}~-]{1,60}){,3}\Z", re.ASCII)


@attrs.frozen
class Draft:
    """Who writes what to whom. C{subject} and C{body} are any text; surrogates in it become question marks.

    @ivar accepted: recipients who have the message already: they stay in its header, and do not get it again.
    """

    sender: Correspondent
    to: tuple[Correspondent, ...] = ()
    cc: tuple[Correspondent, ...] = ()
    bcc: tuple[Correspondent, ...] = ()
    subject: str = ""
    body: str = ""
    attachments: tuple[Attachment, ...] = ()
    accepted: tuple[Correspondent, ...] = ()

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Everybody the message still goes to, each once."""
        everybody = {_key(who.address): who.address for who in (*self.to, *self.cc, *self.bcc)}
        for who in self.accepted:
            everybody.pop(_key(who.address), None)
        return tuple(everybody.values())

    @property
    def utf8_header(self) -> bool:
        """Whether an address in the header is beyond ASCII, so that only a server with SMTPUTF8 can take it."""
        return not all(who.address.local.isascii() for who in (self.sender, *self.to, *self.cc))

    def correspondent(self, recipient: Address) -> Correspondent:
        """A recipient with the name that stands with it where it is first named.

        @raise KeyError: it is nowhere.
        """
        for who in (*self.to, *self.cc, *self.bcc):
            if who.address == recipient:
                return who
        raise KeyError(recipient)

    def replacing(self, recipient: Address, others: Iterable[Correspondent]) -> Draft:
        """The draft with C{others} in each place of C{recipient}."""
        others = tuple(others)

        def replaced(group: tuple[Correspondent, ...]) -> tuple[Correspondent, ...]:
            return tuple(new for who in group for new in (others if who.address == recipient else (who,)))

        return attrs.evolve(self, to=replaced(self.to), cc=replaced(self.cc), bcc=replaced(self.bcc))

    def on_the_wire(self, timestamp: float, message_id: str) -> Content:
        """The message as it is sent. Nothing in it tells of the Bcc recipients.

        @param timestamp: seconds since the epoch, for C{Date}.
        @param message_id: what stands before the C{@} of C{Message-ID}.
        """
        return self._content(self._fields(timestamp, message_id), message_id, "\r\n")

    def for_keeping(self, timestamp: float, message_id: str) -> Content:
        """The message as it is kept on disk: LF line ends, and Bcc with the rest, so that it can be sent later."""
        fields = self._fields(timestamp, message_id)
        for field, group in (("Bcc", self.bcc), (ACCEPTED, self.accepted)):
            if group:
                fields.set_raw(field, _address_list(group))
        return self._content(fields, message_id, "\n")

    def _fields(self, timestamp: float, message_id: str) -> EmailMessage:
        fields = EmailMessage(policy=_WIRE)
        fields["Date"] = datetime.fromtimestamp(timestamp, UTC).astimezone()
        fields.set_raw("From", _address_list([self.sender]))
        for field, group in (("To", self.to), ("Cc", self.cc)):
            if group:
                fields.set_raw(field, _address_list(group))
        fields["Subject"] = " ".join(_CONTROL.sub(" ", _utf_8(self.subject)).split())
        fields["Message-ID"] = f"<{message_id}@{self.sender.address.domain}>"
        fields["MIME-Version"] = "1.0"
        return fields

    def _content(self, fields: EmailMessage, message_id: str, line_end: str) -> Content:
        end = line_end.encode()
        utf8 = any(not str(value).isascii() for field, value in fields.raw_items() if field != "Subject")
        written = _WIRE.clone(linesep=line_end, utf8=utf8)
        header = fields.as_bytes(policy=written).removesuffix(end)
        text = self._text().as_bytes(policy=written)
        if not self.attachments:
            return Content((header + text,), end)
        boundary = b"=_" + message_id.encode()  # which neither base64 nor quoted-printable can hold
        opened = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"' + end + end
        between = end + b"--" + boundary + end
        parts = [piece for attachment in self.attachments for piece in (between, attachment)]
        closed = end + b"--" + boundary + b"--" + end
        return Content((header + opened + between.removeprefix(end) + text, *parts, closed), end)

    def _text(self) -> MIMEPart:
        part = MIMEPart(policy=_WIRE)
        # NUL may not be sent (RFC 5321 section 4.5.2): such a text goes encoded.
        part.set_content(_utf_8(self.body), charset="utf-8", cte="base64" if "\0" in self.body else None)
        return part


def _key(address: Address) -> tuple[str, str]:
    return address.local, address.host


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
