"""A mailbox is a value: whose it is, and where."""

from __future__ import annotations

import attrs
import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox


def test_mailboxes_of_one_owner_and_path_are_one() -> None:
    one, other = (Mailbox(Address("ann", "example.org"), "/mail/ann") for _ in range(2))
    assert len({one, other}) == 1


def test_the_same_directory_under_another_owner_is_another_mailbox() -> None:
    assert Mailbox(Address("ann", "a.example"), "/mail/ann") != Mailbox(Address("ann", "b.example"), "/mail/ann")


def test_a_mailbox_cannot_be_moved() -> None:
    mailbox = Mailbox(Address("ann", "example.org"), "/mail/ann")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        mailbox.path = "/etc"  # type: ignore[misc]
