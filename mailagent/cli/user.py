"""C{mailagent user}: who may log in, as the users file or the database has it.

A password comes from the terminal (typed twice), from a file, or from standard input: never from an argument, where
every user of the machine could read it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from secrets import token_bytes

import click

from mailagent.cli.directory_access import DirectoryInDatabase, Known, in_database
from mailagent.cli.options import config_option, configuration
from mailagent.cli.users_access import UsersInFile
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
@click.option("--no-login", is_flag=True, help="A mailbox and no password; for the directory in the database.")
@password_option
@config_option
@users_option
def add(
    name: str,
    addresses: tuple[str, ...],
    no_login: bool,
    password_file: str | None,
    config: str | None,
    users: str | None,
) -> None:
    """Let NAME log in. Where the directory is in the database, give NAME a mailbox too."""
    place = _place(config, users)
    if no_login and isinstance(place, UsersInFile):
        raise click.UsageError("--no-login is for the directory in the database: the users file has only logins")
    place.add(name, None if no_login else _ANY, addresses, keep=no_login)  # what is wrong, before the password
    if not no_login:
        place.add(name, _verifier(password_file), addresses)
    click.echo(f"{name} has a mailbox" if no_login else f"{name} may log in", err=True)


@user.command()
@click.argument("name")
@password_option
@config_option
@users_option
def passwd(name: str, password_file: str | None, config: str | None, users: str | None) -> None:
    """Give NAME another password."""
    place = _place(config, users)
    place.change_password(name, _ANY, keep=False)
    place.change_password(name, _verifier(password_file))
    click.echo(f"{name} logs in by the new password from now on", err=True)


@user.command("del")
@click.argument("name")
@config_option
@users_option
def delete(name: str, config: str | None, users: str | None) -> None:
    """Let NAME log in no more. Where the directory is in the database, take no mail for NAME either."""
    place = _place(config, users)
    place.remove(name)
    if isinstance(place, UsersInFile):
        click.echo(f"{name} may not log in any more", err=True)
    else:
        click.echo(f"{name} has no mailbox and no login any more; what is in the mailbox stays there", err=True)


user.add_command(delete, "remove")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@config_option
@users_option
def list_users(as_json: bool, config: str | None, users: str | None) -> None:
    """Who may log in, how, and with which further addresses."""
    found = sorted(_place(config, users).users(), key=lambda each: each.name)
    if as_json:
        click.echo(json.dumps([_row(each) for each in found]))
        return
    if not found:
        click.echo("no users yet: mailagent user add NAME", err=True)
    for each in found:
        how = "no login" if each.scram is None else "scram" if each.scram else "imported"
        click.echo("\t".join([each.name, how, *_words(each.addresses)]))


def _row(known: Known) -> dict[str, object]:
    row: dict[str, object] = {"name": known.name, "scram": bool(known.scram), "addresses": list(known.addresses)}
    return row if known.scram is not None else {**row, "login": False}


def _words(addresses: Sequence[str]) -> list[str]:
    return [",".join(addresses)] if addresses else []


#: Stands in for a verifier while it is found out whether a change is possible.
_ANY = ScramVerifier(4096, b"\0" * 16, b"\0" * 32, b"\0" * 32)


def _place(config: str | None, users: str | None) -> UsersInFile | DirectoryInDatabase:
    if users:
        return UsersInFile(os.path.abspath(users))
    found = configuration(config)
    if in_database(found):
        return DirectoryInDatabase(config)
    if found.directory.users is None:
        raise click.ClickException("no users file is configured: set directory.users, or use --users FILE")
    return UsersInFile(found.directory.users)


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
