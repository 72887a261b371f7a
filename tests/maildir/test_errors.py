"""Which storage trouble an OSError is."""

from __future__ import annotations

import errno
import os

import pytest

from mailagent.interfaces import MailboxUnwritable, StorageFailed, StorageFull
from mailagent.maildir.errors import storage_error, trouble_in
from tests.maildir.support import ANN


def error(code: int) -> OSError:
    return OSError(code, os.strerror(code), "/mail/ann/tmp/x")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_full(code: int) -> None:
    assert type(storage_error(error(code), ANN)) is StorageFull


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_mailbox_that_is_missing_or_closed_to_us_is_named(code: int) -> None:
    trouble = storage_error(error(code), ANN)
    assert isinstance(trouble, MailboxUnwritable)
    assert trouble.mailbox == ANN


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.EEXIST])
def test_all_else_is_a_failure_of_storage_and_no_mailbox_is_blamed(code: int) -> None:
    assert type(storage_error(error(code), ANN)) is StorageFailed


def test_the_reason_tells_where_and_what() -> None:
    assert str(storage_error(error(errno.EIO), ANN)) == "/mail/ann/tmp/x: Input/output error"


def test_the_reason_names_the_mailbox_when_the_system_named_no_path() -> None:
    assert str(storage_error(OSError(errno.ENOSPC, "No space"), ANN)) == "/mail/ann: No space"


def test_the_reason_names_both_ends_of_a_link() -> None:
    failed = OSError(errno.ENOENT, "No such file", "/a", None, "/b")
    assert str(storage_error(failed, ANN)) == "/a -> /b: No such file"


def test_trouble_is_raised_with_its_cause() -> None:
    cause = error(errno.EIO)
    with pytest.raises(StorageFailed) as caught, trouble_in(ANN):
        raise cause
    assert caught.value.__cause__ is cause
