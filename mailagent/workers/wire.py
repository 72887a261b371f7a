"""Messages for the queue as they go from process to process: what JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailagent.envelope.address import Address
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.notify import Notify
from mailagent.envelope.queued import QueuedMessage

#: Fields of an envelope that are what JSON has.
_PLAIN = ("size", "eight_bit", "utf8_header", "returned", "envelope_id", "require_tls")


def pack(messages: Sequence[QueuedMessage]) -> list[dict[str, Any]]:
    """The messages as JSON has them."""
    return [
        {
            "id": message.id,
            "envelope": _pack_envelope(message.envelope),
            "header": message.header.decode("latin-1"),
            "report_to": _pack_address(message.report_to),
            "login": message.login,
            "body": None if message.body is None else message.body.decode("latin-1"),
        }
        for message in messages
    ]


def unpack(packed: Sequence[Any]) -> list[QueuedMessage]:
    """The messages that were packed.

    @raise ValueError: nothing of ours.
    """
    try:
        return [
            QueuedMessage(
                each["id"],
                _unpack_envelope(each["envelope"]),
                each["header"].encode("latin-1"),
                _unpack_address(each["report_to"]),
                each["login"],
                None if each["body"] is None else each["body"].encode("latin-1"),
            )
            for each in packed
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no messages: {error!r}") from None


def _pack_address(address: Address | None) -> list[str] | None:
    return None if address is None else [address.local, address.domain]


def _unpack_address(packed: Any) -> Address | None:
    return None if packed is None else Address(*packed)


def _pack_envelope(envelope: Envelope) -> dict[str, Any]:
    return {
        **{name: getattr(envelope, name) for name in _PLAIN},
        "reverse_path": _pack_address(envelope.reverse_path),
        "recipients": [_pack_address(each) for each in envelope.recipients],
        "notify": [
            [_pack_address(address), sorted(notify.conditions), notify.original]
            for address, notify in envelope.notify.items()
        ],
    }


def _unpack_envelope(packed: Any) -> Envelope:
    notify = {
        Address(*address): Notify(frozenset(conditions), original and (original[0], original[1]))
        for address, conditions, original in packed["notify"]
    }
    return Envelope(
        _unpack_address(packed["reverse_path"]),
        tuple(Address(*each) for each in packed["recipients"]),
        notify=notify,
        **{name: packed[name] for name in _PLAIN},
    )
