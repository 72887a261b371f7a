"""What an input of the C{session} target says before it says anything to the server: where it connects, and how.

1. The first octet is the wire: bits 0 and 1 the listener's role, 2 and 3 what there is of TLS, 4 and 5 who is
   believed about the client, 6 slow threads, 7 whether the client is on this machine.
2. The second is how what follows is cut: by as many octets, or, where it is 0, by lines. The lines that answer a
   challenge are then written in base64, so that what is in them is tried, and not only their coding.
"""

from __future__ import annotations

import enum
import re
from base64 import b64encode
from collections.abc import Iterator

import attrs
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from mailagent.smtp.role import MX, SUBMISSION, SUBMISSIONS, Role
from mailagent.smtp.session import Session
from tests.memory_server import segments


class TLS(enum.Enum):
    """How much of TLS there is."""

    NONE = 0
    #: What follows STARTTLS, or on a listener with implicit TLS everything, goes into the real TLS layer as it is.
    REAL = 1
    #: STARTTLS is offered, and all it does is tell the session that it runs over TLS.
    PRETENDED = 2
    #: The session is told so from the beginning.
    AROUND = 3


@attrs.frozen
class Scene:
    """A client and the listener it has connected to."""

    role: Role
    tls: TLS
    xclient: bool
    proxied: bool
    slow: bool
    local: bool
    step: int

    @classmethod
    def of(cls, octets: bytes) -> Scene:
        """The scene that an input begins with."""
        wire, step = octets[:2].ljust(2, b"\0")
        return cls(
            role=(MX, SUBMISSION, SUBMISSIONS, MX)[wire & 3],
            tls=TLS(wire >> 2 & 3),
            xclient=bool(wire & 0x10),
            proxied=bool(wire & 0x20),
            slow=bool(wire & 0x40),
            local=bool(wire & 0x80),
            step=step,
        )

    @property
    def peer(self) -> str:
        """The client's address."""
        return "127.0.0.1" if self.local else "192.0.2.7"

    @property
    def listener_role(self) -> Role:
        """The role of the listener; without TLS of its own where the session is only told of it."""
        real = self.tls in (TLS.NONE, TLS.REAL)
        return self.role if real else attrs.evolve(self.role, implicit_tls=False)

    def server_tls(self, tls: IOpenSSLServerConnectionCreator) -> IOpenSSLServerConnectionCreator | None:
        """The TLS that the server has."""
        return None if self.tls is TLS.NONE and not self.role.implicit_tls else tls

    def cut(self, octets: bytes) -> Iterator[bytes]:
        """What the client sends, segment by segment."""
        if not self.step:
            yield from re.findall(rb"[^\n]*\n|[^\n]+\Z", octets)
            return
        for start in range(0, len(octets), self.step):
            yield from segments(octets[start : start + self.step])

    def spelled(self, segment: bytes, session: Session | None) -> bytes:
        """The segment as this client sends it: see (2) above."""
        login = session._login if session else None
        if self.step or login is None or not login.expects_response or segment == b"*\r\n":
            return segment
        return b64encode(segment.removesuffix(b"\r\n")) + b"\r\n"
