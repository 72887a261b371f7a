"""An envelope in a file: MAIL and RCPT, a line each as in a session, an empty line, and then the content.

Lines end with LF. What is read is checked by the grammar of the session: the file may be anybody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.smtp.grammar import SyntaxFault, parse_mail, parse_rcpt
from mailagent.smtp.parameters import mail_parameters, rcpt_parameters
from mailagent.smtp.xtext import encode_xtext

#: The extensions whose parameters may stand there.
_TAKEN = frozenset({"8BITMIME", "SMTPUTF8", "DSN"})
_MAX_LINE = 4096
#: Recipients of one message.
MAX_RECIPIENTS = 10_000


class BadEnvelope(ValueError):
    """There is no envelope, or not a whole one; the text says why."""


def write_envelope(envelope: Envelope) -> bytes:
    """The lines of an envelope, the empty one included. Of the content's facts they tell whether it has octets above
    127; its size is the file's."""
    words = [f"MAIL FROM:<{envelope.reverse_path or ''}>"]
    if envelope.eight_bit:
        words.append("BODY=8BITMIME")
    if envelope.utf8_header:
        words.append("SMTPUTF8")
    if envelope.returned is not None:
        words.append(f"RET={envelope.returned}")
    if envelope.envelope_id is not None:
        words.append(f"ENVID={encode_xtext(envelope.envelope_id)}")
    lines = [" ".join(words), *(_recipient(each, envelope.wishes(each)) for each in envelope.recipients), ""]
    return "".join(f"{line}\n" for line in lines).encode()


def read_envelope(file: IO[bytes]) -> Envelope:
    """The envelope at the front of a file, which then stands at the content.

    @raise BadEnvelope: there is none.
    """
    lines = _lines(file)
    try:
        reverse_path, parameters = parse_mail(_argument(next(lines, b""), b"MAIL "))
        given = mail_parameters(parameters, _TAKEN)
        notify: dict[Address, Notify] = {}
        for line in lines:
            recipient, wishes = parse_rcpt(_argument(line, b"RCPT "))
            asked = rcpt_parameters(wishes, _TAKEN)
            notify[recipient] = Notify(asked.notify, asked.original)
            if len(notify) > MAX_RECIPIENTS:
                raise BadEnvelope(f"more than {MAX_RECIPIENTS} recipients")
    except SyntaxFault as fault:
        raise BadEnvelope(fault.reply.text) from None
    if not notify:
        raise BadEnvelope("no recipients")
    return Envelope(
        reverse_path,
        tuple(notify),
        eight_bit=given.eight_bit,
        utf8_header=given.utf8,
        returned=given.returned,
        envelope_id=given.envelope_id,
        notify={recipient: wishes for recipient, wishes in notify.items() if wishes != UNASKED},
    )


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while (line := file.readline(_MAX_LINE)) != b"\n":
        if not line.endswith(b"\n"):
            raise BadEnvelope("the envelope is not whole")
        yield line.rstrip(b"\n")


def _argument(line: bytes, verb: bytes) -> bytes:
    if not line.startswith(verb):
        raise BadEnvelope(f"no {verb.decode()}line where one should be")
    return line.removeprefix(verb)


def _recipient(recipient: Address, wishes: Notify) -> str:
    words = [f"RCPT TO:<{recipient}>"]
    if wishes.conditions:
        words.append(f"NOTIFY={','.join(sorted(wishes.conditions))}")
    if wishes.original is not None:
        words.append(f"ORCPT={wishes.original[0]};{encode_xtext(wishes.original[1])}")
    return " ".join(words)
