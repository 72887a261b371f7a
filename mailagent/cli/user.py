"""C{mailagent user}: who may log in.

A password comes from the terminal (typed twice), from a file, or from standard input: never from an argument, where
every user of the machine could read it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from secrets import token_bytes

import click

from mailagent.cli.options import config_option, configuration
from mailagent.directory.users_file import BadUsersFile, LoginExists, NoSuchLogin, UsersFile
from mailagent.directory.users_storage import locked, read_file, replace_file
from mailagent.directory.verifiers import ScramVerifier, UnfitPassword

_LONGEST_PASSWORD = 1024

users_option = click.option(
    "--users", metavar="FILE", help="The users file. Default: the configuration's directory.users."
)
password_option = click.option(
    "--password-file", metavar="FILE", help='Take the password from the first line of this file; "-" is standard input.'
)


@click.group()
def user() -> None:
    """Who may log in to send mail. The running server takes changes up by itself."""


@user.command()
@click.argument("name")
@click.option("--address", "addresses", multiple=True, metavar="ADDRESS", help="May be sent from too. Repeatable.")
@password_option
@config_option
@users_option
def add(
    name: str, addresses: tuple[str, ...], password_file: str | None, config: str | None, users: str | None
) -> None:
    """Let NAME log in."""
    path = _path(config, users)
    _edit(path, lambda file: file.adding(name, _ANY, addresses))  # what is wrong with the name, before the password
    verifier = _verifier(password_file)
    _change(path, lambda file: file.adding(name, verifier, addresses))
    click.echo(f"{name} may log in", err=True)


@user.command()
@click.argument("name")
@password_option
@config_option
@users_option
def passwd(name: str, password_file: str | None, config: str | None, users: str | None) -> None:
    """Give NAME another password."""
    path = _path(config, users)
    _edit(path, lambda file: file.changing(name, _ANY))
    verifier = _verifier(password_file)
    _change(path, lambda file: file.changing(name, verifier))
    click.echo(f"{name} has another password", err=True)


@user.command("del")
@click.argument("name")
@config_option
@users_option
def delete(name: str, config: str | None, users: str | None) -> None:
    """Let NAME log in no more."""
    _change(_path(config, users), lambda file: file.removing(name))
    click.echo(f"{name} may not log in any more", err=True)


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@config_option
@users_option
def list_users(as_json: bool, config: str | None, users: str | None) -> None:
    """Who may log in, how, and with which further addresses."""
    found = sorted(_edit(_path(config, users), lambda file: file).users.values(), key=lambda each: each.name)
    rows = [
        {
            "name": each.name,
            "scram": isinstance(each.verifier, ScramVerifier),
            "addresses": [str(address) for address in each.addresses],
        }
        for each in found
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo("\t".join([str(row["name"]), "scram" if row["scram"] else "imported", *_words(row["addresses"])]))


def _words(addresses: object) -> list[str]:
    return [",".join(addresses)] if isinstance(addresses, list) and addresses else []


#: Stands in for a verifier while it is found out whether a change is possible.
_ANY = ScramVerifier(4096, b"\0" * 16, b"\0" * 32, b"\0" * 32)


def _path(config: str | None, users: str | None) -> str:
    path = os.path.abspath(users) if users else configuration(config).directory.users
    if path is None:
        raise click.ClickException("no users file is configured: set directory.users, or use --users FILE")
    return path


def _change(path: str, edit: Callable[[UsersFile], UsersFile]) -> None:
    """Put the edited file in the place of the old one; nobody else changes it meanwhile."""
    try:
        with locked(path) as real:
            replace_file(real, bytes(_edit(real, edit).with_secret(token_bytes(32))))
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None


def _edit(path: str, edit: Callable[[UsersFile], UsersFile]) -> UsersFile:
    """What the file would be, or why it cannot."""
    try:
        return edit(UsersFile.parse(_read(path)))
    except BadUsersFile as error:
        raise click.ClickException("\n".join(f"{path}: {line}" for line in error.lines)) from None
    except LoginExists as error:
        raise click.ClickException(f"{error} is there already; mailagent user passwd changes the password") from None
    except NoSuchLogin as error:
        raise click.ClickException(f"no user {error.args[0]!r} in {path}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        return b""


def _verifier(password_file: str | None) -> ScramVerifier:
    try:
        return ScramVerifier.make(_password(password_file), token_bytes(16))
    except UnfitPassword as error:
        raise click.ClickException(f"the password cannot be used: {error}") from None


def _password(password_file: str | None) -> str:
    try:
        if password_file is None and sys.stdin.isatty():
            password: str = click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True)
        else:
            password = _first_line(password_file).decode()
        length = len(password.encode())
    except OSError as error:
        raise click.ClickException(f"{password_file}: {error.strerror}") from None
    except UnicodeError:
        raise click.ClickException("the password is not UTF-8") from None
    if length > _LONGEST_PASSWORD:
        raise click.ClickException(f"the password is longer than {_LONGEST_PASSWORD} octets")
    return password


def _first_line(path: str | None) -> bytes:
    """The first line of a file, of standard input without one; of a very long one, more than a password may have."""
    if path in (None, "-"):
        line = sys.stdin.buffer.readline(_LONGEST_PASSWORD + 2)
    else:
        with open(str(path), "rb") as file:
            line = file.readline(_LONGEST_PASSWORD + 2)
    return line.rstrip(b"\r\n")
