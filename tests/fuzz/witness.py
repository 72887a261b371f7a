"""Who may log in while fuzzing, and a second opinion about everybody who did.

Passwords are checked without a hash, at once, and SCRAM's nonce is always the same: then an input can hold a login
that succeeds, and its mutations are such as must not.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from functools import partial
from typing import Any

import attrs
from scramp import ScramMechanism
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from mailagent.config import user_key
from mailagent.directory.users_file import User, UsersFile
from mailagent.directory.verifiers import ScramVerifier
from mailagent.envelope.address import Address
from mailagent.smtp.auth import ScramSha256
from tests.memory_server import MemoryServer

PASSWORD = b"secret"
SALT = b"0123456789abcdef"
NONCE = "servernonce"
_ROUNDS = 4096
_SALTED = hashlib.pbkdf2_hmac("sha256", PASSWORD, SALT, _ROUNDS)
_CLIENT_KEY = hmac.digest(_SALTED, b"Client Key", "sha256")


class _Quick(ScramVerifier):
    """The verifier of L{PASSWORD}, which it knows."""

    def check(self, password: bytes) -> bool:
        return password == PASSWORD


_VERIFIER = _Quick(**attrs.asdict(ScramVerifier.make(PASSWORD.decode(), SALT, _ROUNDS)))
USERS = UsersFile(
    (),
    {
        user_key("ann"): User("ann", _VERIFIER),
        user_key("user1"): User("user1", _VERIFIER, (Address("info", "partner.example"),)),
    },
    b"0123456789abcdef",
)


class _Scram(ScramSha256):
    """Remembers what was said."""

    def __init__(self, record: Any) -> None:
        super().__init__(record)
        self._server = ScramMechanism("SCRAM-SHA-256").make_server(self._look_up, s_nonce=NONCE)
        self._said: list[bytes] = []

    def setResponse(self, response: bytes) -> None:
        super().setResponse(response)
        self._said += [response, self.getChallenge()]

    @property
    def justified(self) -> bool:
        """Whether the client has proven that it knows the password (RFC 5802 section 3), by our own reckoning."""
        client_first, server_first, client_final, *_ = self._said
        without_proof, _, proof = client_final.rpartition(b",p=")
        text = b",".join((client_first.split(b",", 2)[2], server_first, without_proof))
        signature = hmac.digest(hashlib.sha256(_CLIENT_KEY).digest(), text, "sha256")
        return b64decode(proof) == bytes(key ^ mask for key, mask in zip(_CLIENT_KEY, signature, strict=True))


class Witness(Portal):
    """Stands in the place of a server's portal, and sees who gets in.

    @ivar names: those who did, in the order of their coming.
    """

    def __init__(self, server: MemoryServer) -> None:
        before = server.factory.authentication
        assert before is not None
        self._portal = before.portal
        self.names: list[str] = []
        assert server.logins is not None
        mechanisms: dict[str, Any] = {**before.mechanisms, "SCRAM-SHA-256": partial(_Scram, server.logins.scram)}
        server.factory.authentication = attrs.evolve(before, portal=self, mechanisms=mechanisms)

    def login(self, credentials: Any, mind: object, *interfaces: Any) -> Deferred[Any]:
        """See C{Portal}."""

        def admitted(avatar: Any) -> Any:
            name = credentials.username.decode()
            right = credentials.justified if isinstance(credentials, _Scram) else credentials.password == PASSWORD
            assert right, name
            assert user_key(name) in USERS.users, name
            self.names.append(name)
            return avatar

        return self._portal.login(credentials, mind, *interfaces).addCallback(admitted)
