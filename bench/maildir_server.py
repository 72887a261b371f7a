"""What one writes in an afternoon: aiosmtpd that takes mail for a whitelist into the standard library's Maildirs.

C{python -m bench.maildir_server PORT DIRECTORY USER...}. It is as durable as that library allows: the message is
fsynced by C{mailbox.Maildir}, the directory here, and the C{250} comes after both.
"""

from __future__ import annotations

import asyncio
import mailbox
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

_HOSTS = frozenset({"hostmeister.de", "hostgator.com"})
_LARGEST = 100 * 2**20


class Delivery:
    """aiosmtpd's hooks.

    @param root: where the mailboxes are.
    """

    def __init__(self, root: Path, users: frozenset[str]) -> None:
        self._root = root
        self._users = users

    async def handle_RCPT(  # the library looks for this name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        user, _, host = address.lower().partition("@")
        if host not in _HOSTS or user not in self._users:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(user)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(None, self._store, user, content) for user in envelope.rcpt_tos))
        return "250 2.0.0 stored"

    def _store(self, user: str, content: bytes) -> None:
        directory = self._root / user
        mailbox.Maildir(directory, create=True).add(content.replace(b"\r\n", b"\n"))
        descriptor = os.open(directory / "new", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


async def serve(port: int, root: Path, users: frozenset[str]) -> None:
    """Take mail until somebody ends the process."""
    make: Any = partial(SMTP, Delivery(root, users), data_size_limit=_LARGEST, hostname="bench.example")
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), frozenset(sys.argv[3:])))
