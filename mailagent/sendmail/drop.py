"""Leaving a message in the drop, for a server that is not there now."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from mailagent.envelope.envelope import Envelope
from mailagent.smtp.batch import write_envelope


def leave(directory: str, envelope: Envelope, blocks: Iterable[bytes], name: str) -> None:
    """Put a message into the drop, durable and whole when it appears there. Blocks.

    The server must be able to read the file, and so may everybody who knows its name.

    @param name: nobody can guess it.
    @raise OSError: not possible; nothing is left there.
    """
    temporary, final = os.path.join(directory, f".{name}"), os.path.join(directory, name)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        try:
            file.write(write_envelope(envelope))
            file.writelines(blocks)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            os.rename(temporary, final)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        # Who may not read the directory cannot have it written out; the file's own journal entry takes its name along.
        os.fsync(file.fileno())
