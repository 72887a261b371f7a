"""What the database refuses, in our words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import sqlalchemy as sa

from mailagent.database.trouble import Conflict, TooSlow, trouble
from mailagent.interfaces import StorageFailed, StorageFull
from tests.database.support import Database


def test_a_statement_that_fails_does_not_tell_its_parameters(tmp_path: Path) -> None:
    with Database(tmp_path) as database, pytest.raises(StorageFailed) as caught, trouble():
        database.execute("INSERT INTO staged VALUES (?, NULL)", "secret")
    assert "NOT NULL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_errors_of_sqlalchemy_itself_are_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="TimeoutError"), trouble():
        raise sa.exc.TimeoutError


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed)]
)
def test_the_disks_errors_are_told(number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind), trouble():
        raise OSError(number, "disk")


def test_that_nobody_reads_what_is_printed_is_no_trouble_of_the_database() -> None:
    with pytest.raises(BrokenPipeError), trouble():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize(
    ("code", "kind"), [("53100", StorageFull), ("57014", TooSlow), ("55P03", Conflict), ("22021", StorageFailed)]
)
def test_what_postgresql_reports_is_told_by_its_code(code: str, kind: type[Exception]) -> None:
    class Reported(Exception):
        sqlstate = code

    with pytest.raises((StorageFailed, StorageFull)) as caught, trouble():
        raise sa.exc.OperationalError("INSERT", {}, Reported())
    assert type(caught.value) is kind
