"""Reports of what became of a message: C{multipart/report} (RFC 6522), with the null sender.

Three parts: for people, for programs (L{mailagent.queue.delivery_status}), and what of the message itself goes back
(L{mailagent.queue.returned}). A report is ASCII, but where an address or the message's own header is not: then it is
one of RFC 6533, in UTF-8. The message's octets stand in it as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.queued import QueuedMessage
from mailagent.queue.delivery_status import date, delivery_status, fold, plain
from mailagent.queue.items import StoredMessage
from mailagent.queue.notification import Notification
from mailagent.queue.returned import Returned

_SUBJECTS = {"failed": "Mail could not be delivered", "delayed": "Mail is delayed"}
_SUCCESS = "Mail has been delivered"
_EXPLANATIONS = {
    "failed": "could not be delivered to the recipients below, and will not be tried again:",
    "delayed": "has not yet been delivered to the recipients below. Nothing needs to be done, it will be tried again:",
    "delivered": "has been delivered to the recipients below:",
    "relayed": "has been passed on to the servers of the recipients below, which send no such notice on delivery:",
    "expanded": "has been passed on to all whom the recipients below stand for:",
}


def compose(
    message: StoredMessage, told: Sequence[Notification], returned: Returned, hostname: str, id_: str, now: float
) -> tuple[QueuedMessage, bytes]:
    """A report about C{message} to its C{report_to}, for the queue: as a message, and its content.

    If it cannot be delivered itself the postmaster hears of it, once: a report of the failure of what had the null
    reverse-path is reported to nobody.

    @param told: at least one; see L{mailagent.queue.notification.notifications}.
    @param hostname: ours.
    @param id_: the report's own id.
    @param now: seconds since the epoch.
    """
    to = message.report_to
    assert to is not None
    content = b"".join(_content(message, to, told, returned, hostname, id_, now))
    envelope = Envelope(
        None,
        (to,),
        size=len(content),
        eight_bit=not content.isascii(),
        utf8_header=not str(to).isascii(),
        require_tls=message.envelope.require_tls,  # RFC 8689 section 5
    )
    last = message.envelope.reverse_path is None
    return QueuedMessage(id_, envelope, b"", None if last else Address("postmaster", hostname)), content


def _content(
    message: StoredMessage,
    to: Address,
    told: Sequence[Notification],
    returned: Returned,
    hostname: str,
    id_: str,
    now: float,
) -> Iterator[bytes]:
    international = _is_international(message, to, told)
    prefix = "global-" if international else ""
    explanation = _explanation(message, told, hostname, international)
    status = delivery_status(message, told, hostname, international)
    boundary = _boundary(id_, returned.octets)
    yield _header(to, told, f"{prefix}delivery-status", boundary, hostname, id_, now).encode()
    yield _part(boundary, f"text/plain; charset={'utf-8' if international else 'us-ascii'}", explanation.encode())
    yield _part(boundary, f"message/{prefix}delivery-status", status.encode())
    yield _part(boundary, _returned_type(returned, international), returned.octets)
    yield f"\n--{boundary}--\n".encode()


def _is_international(message: StoredMessage, to: Address, told: Sequence[Notification]) -> bool:
    """Whether an address in the report, or the header that goes back, is not ASCII."""
    originals = (each.recipient.notify.original or ("", "") for each in told)
    texts = [str(to), *(str(each.recipient.address) for each in told), *(address for _, address in originals)]
    return message.envelope.utf8_header or not "".join(texts).isascii()


def _boundary(id_: str, octets: bytes) -> str:
    """A boundary that is not in the message, whoever wrote it."""
    boundary = f"=_{id_}"
    while boundary.encode() in octets:
        boundary += "_"
    return boundary


def _header(
    to: Address, told: Sequence[Notification], kind: str, boundary: str, hostname: str, id_: str, now: float
) -> str:
    actions = {each.action for each in told}
    subject = next((text for action, text in _SUBJECTS.items() if action in actions), _SUCCESS)
    return (
        f"From: Mail delivery <MAILER-DAEMON@{hostname}>\n"
        f"To: <{plain(str(to), True)}>\n"
        f"Subject: {subject}\n"
        f"Date: {date(now)}\n"
        f"Message-ID: <{id_}@{hostname}>\n"
        "Auto-Submitted: auto-replied\n"
        "MIME-Version: 1.0\n"
        f'Content-Type: multipart/report; report-type={kind};\n\tboundary="{boundary}"\n'
    )


def _part(boundary: str, kind: str, octets: bytes) -> bytes:
    encoding = "7bit" if octets.isascii() else "8bit"
    head = f"\n--{boundary}\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n"
    return head.encode() + octets


def _returned_type(returned: Returned, international: bool) -> str:
    if returned.whole:
        return "message/global" if international else "message/rfc822"
    return "message/global-headers" if international else "text/rfc822-headers"


def _explanation(message: StoredMessage, told: Sequence[Notification], hostname: str, international: bool) -> str:
    """What has happened, for people."""
    lines = [f"This is the mail server {hostname}."]
    sender = plain(str(message.envelope.reverse_path or ""), international)
    for action, explanation in _EXPLANATIONS.items():
        those = [each for each in told if each.action == action]
        if those:
            lines += ["", *fold(f"The message {message.id} from <{sender}>, of {date(message.created)}, {explanation}")]
        for each in those:
            lines += ["", *fold(_account(each, international))]
    return "".join(f"{line}\n" for line in lines)


def _account(told: Notification, international: bool) -> str:
    """What happened to one recipient."""
    source = f"{told.host} said: " if told.host else ""
    reply = str(told.reply) if told.reply is not None else "it could not be tried"
    until = f" It will be tried until {date(told.until)}." if told.until is not None else ""
    return plain(f"<{told.recipient.address}>: {source}{reply}{until}", international)
