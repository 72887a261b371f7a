"""What of a message goes to the queue: pure values.

All recipients elsewhere that the sender has named share one queued message. Each alias that leads outside has one of
its own: C{Delivered-To} in it tells a loop, and the alias's owner, not the sender, hears of its failure. Nobody hears
of the failure of a message with the null reverse-path (RFC 5321 section 6.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import attrs

from mailagent.envelope.address import Address, canonical_domain
from mailagent.envelope.envelope import Envelope
from mailagent.envelope.forward import Forward
from mailagent.envelope.notify import UNASKED, Notify
from mailagent.envelope.queued import QueuedMessage
from mailagent.reception.recipient import Recipient


@attrs.frozen
class Outgoing:
    """A message as it leaves.

    @ivar envelope: as the sender gave it; its C{recipients} are of no account, its C{size} is that of the content
        alone, as stored.
    @ivar header: the fields that go ahead of the content, LF-ended.
    @ivar login: see L{QueuedMessage}.
    """

    envelope: Envelope
    header: bytes
    login: str = ""

    def messages(self, recipients: Sequence[Recipient], ids: Iterator[str]) -> list[QueuedMessage]:
        """What is queued for these recipients; nothing for those that are ours altogether.

        @param ids: an identifier for each.
        """
        direct = {_key(each.address): each for each in recipients if each.remote}
        named = {each.address: each.notify for each in direct.values()}
        found = [self._message(next(ids), named, b"", self.envelope.reverse_path)] if named else []
        reached = set(direct)
        aliases: dict[tuple[Address, Address], dict[Address, Notify]] = {}
        for recipient in recipients:
            for forward in recipient.forwards:
                if _key(forward.address) not in reached:
                    reached.add(_key(forward.address))
                    wishes = aliases.setdefault((forward.alias, forward.owner), {})
                    wishes[forward.address] = _passed_on(recipient.notify)
        for (alias, owner), wishes in aliases.items():
            report_to = owner if self.envelope.reverse_path is not None else None
            found.append(self._message(next(ids), wishes, f"Delivered-To: {alias}\n".encode(), report_to))
        return found

    def _message(
        self, id_: str, named: dict[Address, Notify], ahead: bytes, report_to: Address | None
    ) -> QueuedMessage:
        header = ahead + self.header
        envelope = attrs.evolve(
            self.envelope,
            recipients=tuple(named),
            size=(self.envelope.size or 0) + len(header),
            eight_bit=self.envelope.eight_bit or not header.isascii(),
            utf8_header=self.envelope.utf8_header or not header.isascii(),
            notify={address: notify for address, notify in named.items() if notify != UNASKED},
        )
        return QueuedMessage(id_, envelope, header, report_to, self.login)


def is_loop(forwards: Sequence[Forward], delivered_to: Collection[str]) -> bool:
    """Whether a message has been forwarded by one of these aliases before.

    @param delivered_to: what its C{Delivered-To} fields say, in lower case.
    """
    return any(str(forward.alias).lower() in delivered_to for forward in forwards)


def _key(address: Address) -> tuple[str, str]:
    return address.local, canonical_domain(address.domain)


def _passed_on(notify: Notify) -> Notify:
    """What is left of a sender's wishes behind an alias: its success has been told (RFC 3461 section 5.2.7)."""
    if "SUCCESS" not in notify.conditions:
        return notify
    return attrs.evolve(notify, conditions=(notify.conditions - {"SUCCESS"}) or frozenset({"NEVER"}))
