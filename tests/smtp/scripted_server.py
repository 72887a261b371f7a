"""An SMTP server that says what a test has it say, on a loopback port, in threads of its own (no Twisted in it).

It goes over to TLS where a test gives it a certificate, and lets people log in as the mechanisms' RFCs have it.
"""

from __future__ import annotations

import base64
import socketserver
import ssl
import sys
import threading
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Self

import trustme
from scramp import ScramException, ScramMechanism

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

USER, PASSWORD = "ann", "open s\xe9same"


@cache
def authority() -> trustme.CA:
    """Who vouches for our servers."""
    return trustme.CA()


def server_tls(*names: str) -> ssl.SSLContext:
    """A server's TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(*names).configure_cert(context)
    return context


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Answers each command by the longest key of C{replies} that it begins with, else C{250 2.0.0 OK}.

    C{greeting} and C{message} (the end of a message) are keys too. A context manager: it serves while entered.

    @ivar silent: set once it has not answered something.
    @ivar tls: the server's side of TLS, after STARTTLS; from the first octet if C{implicit}.
    @ivar under_tls: replies under TLS that differ from those before.
    @ivar stalls: whether it leaves a handshake unanswered.
    @ivar secure: the command lines received under TLS.
    @ivar logins: the mechanisms by which somebody logged in.
    @ivar sessions: what each session received: command lines, and the messages as they came over the wire.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, replies: Mapping[str, str | None] | None = None, tls: ssl.SSLContext | None = None, implicit: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.tls = tls
        self.implicit = implicit
        self.replies: dict[str, str | None] = {
            "greeting": "220 scripted.example ESMTP",
            "message": "250 2.0.0 Stored",
            **_USUAL,
        }
        self.replies.update(replies or {})
        self.under_tls: dict[str, str | None] = {}
        self.stalls = False
        self.sessions: list[list[bytes]] = []
        self.secure: list[bytes] = []
        self.logins: list[str] = []
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
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError):
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
        if self.server.implicit:
            self._go_over_to_tls()
        received: list[bytes] = []
        self.server.sessions.append(received)
        goes_on = self._answer("greeting")
        while goes_on and (line := self.rfile.readline()):
            received.append(line.rstrip(b"\r\n"))
            if self.secure:
                self.server.secure.append(received[-1])
            goes_on = self._log_in(line) if line.startswith(b"AUTH") else self._answer(line.decode().strip())
            if line.startswith(b"STARTTLS") and self._reply("STARTTLS")[:3] in ("220", "250"):
                self._go_over_to_tls()
            if goes_on and line.startswith(b"DATA") and (self.server.replies["DATA"] or "").startswith("3"):
                received.append(self._message())
                goes_on = self._answer("message")

    def _go_over_to_tls(self) -> None:
        assert self.server.tls is not None
        if self.server.stalls:
            self.server.over.wait()
            raise ConnectionAbortedError
        self.request = self.connection = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def _log_in(self, line: bytes) -> bool:
        if "AUTH" in self.server.replies:
            return self._answer("AUTH")
        _, mechanism, *initial = line.decode().split()
        try:
            proven = _LOGINS[mechanism](self, "".join(initial))
        except (KeyError, ValueError, ScramException):
            proven = False
        if proven:
            self.server.logins.append(mechanism)
        self._send("235 2.7.0 Welcome" if proven else "535 5.7.8 Wrong")
        return True

    def challenge(self, text: str) -> str:
        """Send a challenge, and return the response."""
        self._send("334 " + base64.b64encode(text.encode()).decode())
        return base64.b64decode(self.rfile.readline()).decode()

    def _send(self, reply: str) -> None:
        self.wfile.write(reply.encode() + b"\r\n")

    def _message(self) -> bytes:
        lines: list[bytes] = []
        while (not lines or lines[-1] != b".\r\n") and (line := self.rfile.readline()):
            lines.append(line)
        return b"".join(lines)

    @property
    def secure(self) -> bool:
        """Whether this is said under TLS."""
        return isinstance(self.request, ssl.SSLSocket)

    def _reply(self, command: str) -> str:
        replies = self.server.replies | (self.server.under_tls if self.secure else {})
        keys = [key for key in replies if command.upper().startswith(key.upper())]
        reply = replies[max(keys, key=len)] if keys else "250 2.0.0 OK"
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
        self._send(reply)
        return not reply.startswith(("221", "421"))


def _plain(session: _Session, initial: str) -> bool:
    response = base64.b64decode(initial).decode() if initial else session.challenge("")
    return response == f"\0{USER}\0{PASSWORD}"


def _login(session: _Session, initial: str) -> bool:
    return (session.challenge("Username:"), session.challenge("Password:")) == (USER, PASSWORD)


def _scram(session: _Session, initial: str) -> bool:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    server = mechanism.make_server(lambda _: mechanism.make_auth_info(PASSWORD, iteration_count=4096))
    server.set_client_first(base64.b64decode(initial).decode())
    server.set_client_final(session.challenge(server.get_server_first()))
    return session.challenge(server.get_server_final()) == ""


_LOGINS = {"PLAIN": _plain, "LOGIN": _login, "SCRAM-SHA-256": _scram}
