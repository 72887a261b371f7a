"""Whom there was mail to before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose import address_book
from mailagent.compose.address_book import MOST, AddressBook
from mailagent.compose.correspondent import Correspondent, parse_correspondents
from mailagent.envelope.address import Address

ANN, BOB = parse_correspondents("Ann Example <ann@example.org>; bob@example.org")


@pytest.fixture
def book(tmp_path: Path) -> AddressBook:
    return AddressBook.of_user({"XDG_STATE_HOME": str(tmp_path)})


def test_nobody_is_known_at_first(book: AddressBook) -> None:
    assert book.earlier() == ()


def test_the_latest_comes_first_and_nobody_twice(book: AddressBook) -> None:
    book.remember([ANN])
    book.remember([BOB])
    assert book.earlier() == (BOB, ANN)
    book.remember([ANN])
    assert book.earlier() == (ANN, BOB)


def test_only_its_user_can_read_it_and_nothing_else_is_left(book: AddressBook, tmp_path: Path) -> None:
    book.remember([ANN])
    assert book.path == tmp_path / "mailagent" / "recipients"
    assert book.path.stat().st_mode & 0o777 == 0o600
    assert list(book.path.parent.iterdir()) == [book.path]


def test_there_is_an_end_to_it(book: AddressBook, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Correspondent(Address(f"user{number}", "example.org")) for number in range(MOST + 10)]
    book.remember(many)
    assert book.earlier() == tuple(many[:MOST])
    monkeypatch.setattr(address_book, "_MAX_FILE", 50)
    assert len(book.earlier()) < 5


def test_lines_that_are_none_do_not_count(book: AddressBook) -> None:
    book.path.parent.mkdir()
    book.path.write_bytes(b"nonsense\n\xff\xfe\n\nbob@example.org\n")
    assert book.earlier() == (BOB,)


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    AddressBook(tmp_path / "file" / "recipients").remember([ANN])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    AddressBook(tmp_path / "recipients").remember([ANN])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@given(st.text())
def test_any_name_leaves_one_line_with_the_address(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    book = AddressBook(tmp_path_factory.mktemp("book") / "recipients")
    book.remember([Correspondent(ANN.address, name), BOB])
    assert [who.address for who in book.earlier()] == [ANN.address, BOB.address]
