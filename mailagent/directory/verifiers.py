"""What a users file keeps in place of a password, and how a password is checked against it.

Two kinds: our own, a SCRAM-SHA-256 verifier (RFC 7677, in the spelling of Dovecot's C{{SCRAM-SHA-256}}), which proves
a password without ever holding it; and hashes brought along from elsewhere, which can only check a password that is
shown to them. Checking takes long on purpose: do it in a thread. Comparisons take the same time whatever differs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import attrs
from scramp import ScramException, ScramMechanism

#: PBKDF2 rounds of the verifiers we make.
ROUNDS = 120_000
_LEAST_ROUNDS, _MOST_ROUNDS = 4096, 10_000_000  # what scramp takes (RFC 7677 section 4 asks for the lower bound)
_SHORTEST_SALT = 12
_SCHEME = re.compile(r"\{([A-Za-z0-9-]+)\}")
_BCRYPT_LENGTH = 72  # octets; crypt_blowfish looks at no more


class BadVerifier(ValueError):
    """It is none that can be used. The text says why and never quotes it."""


class UnfitPassword(ValueError):
    """A password that SASLprep (RFC 4013) does not take, so that no client could send it."""


class Verifier(Protocol):
    """What one user's password is checked against."""

    @property
    def looks(self) -> str:
        """What is seen of it from outside: verifiers that look the same are shown and cost the same."""

    def check(self, password: bytes) -> bool:
        """Whether this is the password. Blocks, and raises nothing."""


@attrs.frozen
class ScramVerifier:
    """A SCRAM-SHA-256 verifier: C{stored_key} checks a proof, C{server_key} makes ours (RFC 5802 section 3)."""

    rounds: int
    salt: bytes = attrs.field(repr=False)
    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    @classmethod
    def make(cls, password: str, salt: bytes, rounds: int = ROUNDS) -> ScramVerifier:
        """The verifier of a password. Blocks for some 50 ms.

        @param salt: random, at least 12 octets.
        @raise UnfitPassword: the password is empty, or SASLprep forbids it.
        """
        if not password:
            raise UnfitPassword("it is empty")
        try:
            salt, stored_key, server_key, rounds = ScramMechanism("SCRAM-SHA-256").make_auth_info(
                password, iteration_count=rounds, salt=salt
            )
        except ScramException:
            raise UnfitPassword("it has characters that SASLprep (RFC 4013) does not take") from None
        return cls(rounds, salt, stored_key, server_key)

    @classmethod
    def read(cls, text: str) -> ScramVerifier:
        """A verifier as C{rounds,salt,stored key,server key}, all but the first in base64.

        @raise BadVerifier: it is none.
        """
        try:
            rounds, salt, stored_key, server_key = text.split(",")
            verifier = cls(int(rounds), *(b64decode(part, validate=True) for part in (salt, stored_key, server_key)))
        except ValueError:
            raise BadVerifier("not rounds, salt and two keys with commas between them") from None
        size = hashlib.sha256().digest_size
        if not len(verifier.stored_key) == len(verifier.server_key) == size or len(verifier.salt) < _SHORTEST_SALT:
            raise BadVerifier("a key or the salt is too short or too long")
        if not _LEAST_ROUNDS <= verifier.rounds <= _MOST_ROUNDS:
            raise BadVerifier(f"its rounds are not between {_LEAST_ROUNDS} and {_MOST_ROUNDS}")
        return verifier

    def __str__(self) -> str:
        parts = (b64encode(part).decode() for part in (self.salt, self.stored_key, self.server_key))
        return f"{{SCRAM-SHA-256}}{self.rounds},{','.join(parts)}"

    @property
    def looks(self) -> str:
        """See L{Verifier.looks}."""
        return f"{self.rounds},{len(self.salt)}"

    def check(self, password: bytes) -> bool:
        """See L{Verifier.check}."""
        try:
            made = self.make(password.decode(), self.salt, self.rounds)
        except ValueError:
            hashlib.pbkdf2_hmac("sha256", password, self.salt, self.rounds)  # no answer comes sooner than another
            return False
        return hmac.compare_digest(made.stored_key, self.stored_key)


@attrs.frozen
class ImportedHash:
    """A hash made by another program; serves where the password itself is sent. C{looks}: see L{Verifier.looks}."""

    looks: str
    text: str = attrs.field(repr=False)
    _compare: Callable[[bytes, str], bool] = attrs.field(repr=False)

    def check(self, password: bytes) -> bool:
        """See L{Verifier.check}."""
        try:
            return self._compare(password, self.text)
        except ValueError:
            return False


def _argon2(password: bytes, text: str) -> bool:
    import argon2

    try:
        return argon2.PasswordHasher().verify(text, password)
    except argon2.exceptions.VerificationError:
        return False


def _sha_crypt(password: bytes, text: str) -> bool:
    from passlib.hash import sha256_crypt, sha512_crypt

    return bool((sha512_crypt if text.startswith("$6$") else sha256_crypt).verify(password, text))


def _bcrypt(password: bytes, text: str) -> bool:
    import bcrypt

    return bcrypt.checkpw(password[:_BCRYPT_LENGTH], text.encode())


#: By the beginning of a hash: its whole form, with what its cost is in a group, the module that knows it, and the
#: comparison.
_CRYPTS: tuple[tuple[re.Pattern[str], str, Callable[[bytes, str], bool]], ...] = (
    (re.compile(r"(\$argon2id?\$v=\d+\$m=\d+,t=\d+,p=\d+)\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"), "argon2", _argon2),
    (re.compile(r"(\$[56]\$(?:rounds=\d{4,7}\$)?)[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43,86}"), "passlib", _sha_crypt),
    (re.compile(r"(\$2[aby]\$\d\d\$)[./A-Za-z0-9]{53}"), "bcrypt", _bcrypt),
)
_IMPORTED = {"ARGON2I", "ARGON2ID", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT", "CRYPT"}


def read(text: str) -> Verifier:
    """A verifier as a passwd-file holds it: C{{SCHEME}hash}, or a bare crypt(3) hash.

    @raise BadVerifier: the scheme is not known, the rest is not of that scheme, or its library is not installed.
    """
    found = _SCHEME.match(text)
    scheme = found[1].upper() if found else "CRYPT"
    rest = text[found.end() :] if found else text
    if scheme == "SCRAM-SHA-256":
        return ScramVerifier.read(rest)
    if scheme not in _IMPORTED:
        raise BadVerifier(f"scheme {scheme} is not one of SCRAM-SHA-256, {', '.join(sorted(_IMPORTED))}")
    for form, module, compare in _CRYPTS:
        if cost := form.fullmatch(rest):
            if find_spec(module) is None:
                raise BadVerifier(f"needs the module {module}: pip install mailagent[hashes]")
            return ImportedHash(cost[1], rest, compare)
    raise BadVerifier("not a hash of argon2, SHA-256 or SHA-512 crypt, or bcrypt")
