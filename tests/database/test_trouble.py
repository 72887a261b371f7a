"""What the database refuses, in our words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import sqlalchemy as sa

from mailagent.database.trouble import trouble
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


def test_postgresqls_full_disk_is_full() -> None:
    class Full(Exception):
        sqlstate = "53100"

    with pytest.raises(StorageFull), trouble():
        raise sa.exc.OperationalError("INSERT", {}, Full())
