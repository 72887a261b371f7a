"""An SMTP server that says what a test has it say, on a loopback port, in threads of its own (no Twisted in it)."""

from __future__ import annotations

import socketserver
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

#: As a reply: close the connection without a word.
DROP = ""
#: As a reply: say nothing, ever.
SILENCE = None

_USUAL = {
    "EHLO": "250-scripted.example\r\n250-SIZE 1000000\r\n250 8BITMIME",
    "RCPT TO:<nobody@": "550 5.1.1 No such user here",
    "RCPT TO:<later@": "451 4.2.0 Not now",
    "DATA": "354 Go on",
    "QUIT": "221 2.0.0 Bye",
}


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers each command by the longest key of C{replies} that it begins with, else C{250 2.0.0 OK}.

    C{greeting} and C{message} (the end of a message) are keys too. A context manager: it serves while entered.

    @ivar silent: set once it has not answered something.
    @ivar sessions: what each session received: command lines, and the messages as they came over the wire.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, replies: Mapping[str, str | None] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.replies: dict[str, str | None] = {
            "greeting": "220 scripted.example ESMTP",
            "message": "250 2.0.0 Stored",
            **_USUAL,
        }
        self.replies.update(replies or {})
        self.sessions: list[list[bytes]] = []
        self.silent = threading.Event()
        self.over = threading.Event()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def messages(self) -> list[bytes]:
        """The messages received, in order, with their end marks."""
        return [item for session in self.sessions for item in session if item.endswith(b"\r\n.\r\n")]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news; anything else is reported."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    server: ScriptedServer

    def handle(self) -> None:
        received: list[bytes] = []
        self.server.sessions.append(received)
        goes_on = self._answer("greeting")
        while goes_on and (line := self.rfile.readline()):
            received.append(line.rstrip(b"\r\n"))
            goes_on = self._answer(line.decode().strip())
            if goes_on and line.startswith(b"DATA") and (self.server.replies["DATA"] or "").startswith("3"):
                received.append(self._message())
                goes_on = self._answer("message")

    def _message(self) -> bytes:
        lines: list[bytes] = []
        while (not lines or lines[-1] != b".\r\n") and (line := self.rfile.readline()):
            lines.append(line)
        return b"".join(lines)

    def _reply(self, command: str) -> str:
        keys = [key for key in self.server.replies if command.upper().startswith(key.upper())]
        reply = self.server.replies[max(keys, key=len)] if keys else "250 2.0.0 OK"
        if reply is SILENCE:
            self.server.silent.set()
            self.server.over.wait()
            return DROP
        return reply

    def _answer(self, command: str) -> bool:
        """Whether the session goes on."""
        reply = self._reply(command)
        if reply == DROP:
            return False
        self.wfile.write(reply.encode() + b"\r\n")
        return not reply.startswith(("221", "421"))
