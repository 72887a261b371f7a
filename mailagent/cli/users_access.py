"""The users file, opened for a command. What is wrong is a line that names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from secrets import token_bytes

import attrs
import click

from mailagent.cli.directory_access import Known, refusing
from mailagent.directory.users_file import BadUsersFile, UsersFile
from mailagent.directory.users_storage import locked, read_file, replace_file
from mailagent.directory.verifiers import ScramVerifier

_Edit = Callable[[UsersFile], UsersFile]


@attrs.frozen
class UsersInFile:
    """The users of the file at C{path}. What changes it can also only tell whether that is possible."""

    path: str

    def add(self, name: str, verifier: ScramVerifier | None, addresses: Sequence[str], keep: bool = True) -> None:
        """Let somebody log in, by a verifier."""
        assert verifier is not None  # a file of logins has nobody without
        self._change(lambda file: file.adding(name, verifier, addresses), keep)

    def change_password(self, name: str, verifier: ScramVerifier, keep: bool = True) -> None:
        """Give a user another password."""
        self._change(lambda file: file.changing(name, verifier), keep)

    def remove(self, name: str) -> None:
        """Let a user log in no more."""
        self._change(lambda file: file.removing(name))

    def users(self) -> list[Known]:
        """Everybody."""
        return [
            Known(each.name, isinstance(each.verifier, ScramVerifier), [str(address) for address in each.addresses])
            for each in self._edit(self.path, lambda file: file).users.values()
        ]

    def _change(self, edit: _Edit, keep: bool = True) -> None:
        """Put the edited file in the place of the old one; nobody else changes it meanwhile."""
        if not keep:
            self._edit(self.path, edit)
            return
        try:
            with locked(self.path) as real:
                replace_file(real, bytes(self._edit(real, edit).with_secret(token_bytes(32))))
        except OSError as error:
            raise click.ClickException(f"{self.path}: {error.strerror or error}") from None

    def _edit(self, path: str, edit: _Edit) -> UsersFile:
        """What the file would be, or why it cannot."""
        with refusing(path):
            try:
                return edit(UsersFile.parse(_read(path)))
            except BadUsersFile as error:
                raise click.ClickException("\n".join(f"{path}: {line}" for line in error.lines)) from None
            except OSError as error:
                raise click.ClickException(f"{path}: {error.strerror or error}") from None


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""
