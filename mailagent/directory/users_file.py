"""The users file: one user a line, as in Dovecot's passwd-file, so that one file can serve both.

C{name:{SCHEME}hash[:uid:gid:gecos:home:shell[:extra fields]]}. Of the fields behind the hash we read one extra field,
C{addresses=sales@example.org,info@example.org}: what the user may send as besides the name. A line that begins with
C{#} is a comment; the comment C{#secret:} holds random octets in base64, by which users who do not exist are given
salts that stay the same. Nothing here touches the file system.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence

import attrs

from mailagent.config import user_key
from mailagent.config.values import domain
from mailagent.directory import verifiers
from mailagent.directory.verifiers import BadVerifier, ScramVerifier, Verifier
from mailagent.envelope.address import Address

_SECRET = "#secret:"  # noqa: S105 - the mark, not the secret
_ADDRESSES = "addresses="
_EXTRA = 7  # fields ahead of the extra ones: name, hash, uid, gid, gecos, home, shell
_LONGEST_NAME = 255


class BadUsersFile(ValueError):
    """A users file that cannot be used. C{lines} says why, a line each, and quotes no hash."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


class NoSuchLogin(LookupError):
    """The users file has nobody of that name."""


class LoginExists(ValueError):
    """The users file has somebody of that name already."""


@attrs.frozen
class User:
    """Somebody who may log in: C{name} as it is spelled in the file, and C{addresses} beyond the name's own."""

    name: str
    verifier: Verifier
    addresses: tuple[Address, ...] = ()


@attrs.frozen
class UsersFile:
    """The lines of a users file, and the users they name. Changes make a new one and leave other lines alone."""

    lines: tuple[str, ...]
    users: dict[str, User]
    secret: bytes = attrs.field(default=b"", repr=False)

    @classmethod
    def parse(cls, content: bytes) -> UsersFile:
        """The file with this content.

        @raise BadUsersFile: it is not UTF-8, a line is wrong, or a name is there twice.
        """
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise BadUsersFile(["not UTF-8"]) from None
        lines = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")) if text else ()
        users: dict[str, User] = {}
        secret, problems = b"", []
        for number, line in enumerate(lines, 1):
            try:
                if line.startswith(_SECRET):
                    secret = b64decode(line.removeprefix(_SECRET), validate=True)
                elif line.strip() and not line.startswith("#"):
                    user = _user(line)
                    if users.setdefault(user_key(user.name), user) is not user:
                        raise ValueError("a user of that name is listed already")
            except ValueError as error:
                problems.append(f"line {number}: {error}")
        if problems:
            raise BadUsersFile(problems)
        return cls(lines, users, secret)

    def find(self, name: str) -> User | None:
        """The user of that name, in whatever case."""
        return self.users.get(user_key(name))

    def with_secret(self, secret: bytes) -> UsersFile:
        """The same with this secret, if it had none."""
        if self.secret:
            return self
        return self.parse(_content((_SECRET + b64encode(secret).decode(), *self.lines)))

    def adding(self, name: str, verifier: ScramVerifier, addresses: Sequence[str] = ()) -> UsersFile:
        """The same with one user more.

        @raise LoginExists: there is one of that name.
        @raise ValueError: the name or an address cannot stand in the file.
        """
        if self.find(name):
            raise LoginExists(name)
        if ":" in name:
            raise ValueError("the name has a colon in it")
        extra = f"::::::{_ADDRESSES}{','.join(addresses)}" if addresses else ""
        line = f"{name}:{verifier}{extra}"
        if _user(line) != User(name, verifier, tuple(map(address, addresses))):
            raise ValueError("such a name or address cannot be written down")
        return self.parse(_content((*self.lines, line)))

    def changing(self, name: str, verifier: ScramVerifier) -> UsersFile:
        """The same with another password for one user.

        @raise NoSuchLogin: there is none of that name.
        """
        at = self._index(name)
        fields = self.lines[at].split(":")
        fields[1] = str(verifier)
        return self.parse(_content((*self.lines[:at], ":".join(fields), *self.lines[at + 1 :])))

    def removing(self, name: str) -> UsersFile:
        """The same without one user.

        @raise NoSuchLogin: there is none of that name.
        """
        at = self._index(name)
        return self.parse(_content((*self.lines[:at], *self.lines[at + 1 :])))

    def _index(self, name: str) -> int:
        for at, line in enumerate(self.lines):
            if line.strip() and not line.startswith("#") and user_key(line.partition(":")[0]) == user_key(name):
                return at
        raise NoSuchLogin(name)

    def __bytes__(self) -> bytes:
        """The file's content."""
        return _content(self.lines)


def _content(lines: Sequence[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


def _user(line: str) -> User:
    """@raise ValueError: the line is wrong; the text says how."""
    fields = line.split(":", _EXTRA)
    name = fields[0]
    if not 0 < len(name.encode()) <= _LONGEST_NAME or not name.isprintable() or re.search(r"[\s#]", name[:1] + name):
        raise ValueError("the name is empty, too long, unprintable, or has a space or # in it")
    if len(fields) < 2:
        raise ValueError("no colon and no hash behind the name")
    try:
        verifier = verifiers.read(fields[1])
    except BadVerifier as error:
        raise ValueError(f"the hash of {name}: {error}") from None
    return User(name, verifier, tuple(_addresses(fields[_EXTRA] if len(fields) > _EXTRA else "")))


def _addresses(extra: str) -> Iterator[Address]:
    for word in extra.split():
        if word.startswith(_ADDRESSES):
            yield from map(address, word.removeprefix(_ADDRESSES).split(","))


def address(text: str) -> Address:
    """An address that a user may send from. @raise ValueError: it is none."""
    local, _, host = text.rpartition("@")
    if not local or not local.isprintable():
        raise ValueError("an address is not local@domain")
    try:
        return Address(local, domain(host))
    except ValueError:
        raise ValueError("an address is not local@domain") from None
