"""Mailboxes are made as they come, and tried again until they are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
import pytest

from mailagent.envelope.address import Address
from mailagent.envelope.mailbox import Mailbox
from mailagent.interfaces import MailboxUnwritable
from mailagent.stored_directory.mailboxes import NewMailboxes
from tests.maildir.support import Events, logged


@attrs.define
class Disk:
    """Makes mailboxes, but for those that are C{broken}."""

    broken: set[str] = attrs.Factory(set)
    tried: list[str] = attrs.Factory(list)

    def make(self, mailboxes: Iterable[Mailbox]) -> Iterator[MailboxUnwritable]:
        for mailbox in mailboxes:
            self.tried.append(mailbox.path)
            if mailbox.path in self.broken:
                yield MailboxUnwritable(mailbox, f"{mailbox.path} cannot be made")


@pytest.fixture
def events() -> Iterator[Events]:
    with logged() as events:
        yield events


def boxes(*names: str) -> list[Mailbox]:
    return [Mailbox(Address(name, "example.org"), name) for name in names]


def test_only_what_is_new_is_made(events: Events) -> None:
    disk = Disk()
    NewMailboxes(disk.make).make(boxes("ann", "bob"), known={"ann"})
    assert disk.tried == ["bob"]
    assert events.named == []


def test_what_could_not_be_made_is_tried_until_it_is_there(events: Events) -> None:
    disk = Disk({"bob"})
    new = NewMailboxes(disk.make)
    new.make(boxes("ann", "bob"), known=())
    new.try_again()
    disk.broken.clear()
    new.try_again()
    new.try_again()
    assert disk.tried == ["ann", "bob", "bob", "bob"]
    assert events.named == ["error"]


def test_a_change_of_something_else_tries_it_too_and_is_silent(events: Events) -> None:
    disk = Disk({"bob"})
    new = NewMailboxes(disk.make)
    new.make(boxes("ann", "bob"), known=())
    new.make(boxes("ann", "bob", "eve"), known={"ann", "bob"})
    assert disk.tried == ["ann", "bob", "bob", "eve"]
    assert events.named == ["error"]


def test_one_that_is_wanted_no_more_is_forgotten(events: Events) -> None:
    disk = Disk({"bob"})
    new = NewMailboxes(disk.make)
    new.make(boxes("ann", "bob"), known=())
    new.make(boxes("ann"), known={"ann", "bob"})
    new.try_again()
    assert disk.tried == ["ann", "bob"]


def test_many_are_tried_in_turns_and_told_in_few_lines(events: Events) -> None:
    names = [f"user{number}" for number in range(1500)]
    disk = Disk(set(names))
    new = NewMailboxes(disk.make)
    new.make(boxes(*names), known=())
    disk.tried.clear()
    new.try_again()
    assert len(disk.tried) < len(names)
    new.try_again()
    assert set(disk.tried) == set(names)
    assert events.named == ["error"] * 21
