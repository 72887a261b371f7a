"""C{mailagent host} and C{mailagent alias}: whom we take mail for, where the directory is in the database."""

from __future__ import annotations

import json

import click

from mailagent.cli.directory_access import database_directory
from mailagent.cli.options import config_option
from mailagent.directory.stored import full_name
from mailagent.envelope.printable import printable
from mailagent.stored_directory import changing

_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON array.")


@click.group()
def host() -> None:
    """Whose mail is taken, where the directory is in the database. All nodes take changes up by themselves."""


@host.command("add")
@click.argument("name")
@click.option("--shared", is_flag=True, help="Its users are those without a domain, as [whitelist] has it.")
@config_option
def add_host(name: str, shared: bool, config: str | None) -> None:
    """Take mail for the domain NAME, which has users of its own unless they are shared."""
    database_directory(config, "hosts").change(lambda: changing.add_host(name, shared))
    click.echo(f"mail for {name} is taken", err=True)


@host.command("remove")
@click.argument("name")
@config_option
def remove_host(name: str, config: str | None) -> None:
    """Take mail for NAME no more. Its users and aliases must have been removed."""
    directory = database_directory(config, "hosts")
    directory.change(lambda: changing.remove_host(name))
    click.echo(f"mail for {name} is taken no more", err=True)
    directory.tell_if_empty()


@host.command("list")
@_json_option
@config_option
def list_hosts(as_json: bool, config: str | None) -> None:
    """The domains, and whether they share their users."""
    found = database_directory(config, "hosts").rows().hosts
    if as_json:
        click.echo(json.dumps([{"name": each.name, "shared": bool(each.shared)} for each in found]))
        return
    if not found:
        click.echo("no hosts yet: mailagent host add NAME", err=True)
    for each in found:
        click.echo(printable(each.name) + ("\tshared" if each.shared else ""))


@click.group()
def alias() -> None:
    """Further names, where the directory is in the database. All nodes take changes up by themselves."""


@alias.command("add")
@click.argument("name")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@config_option
def add_alias(name: str, targets: tuple[str, ...], config: str | None) -> None:
    """Have NAME lead to users beside it, or to addresses anywhere, besides those to which it leads already.

    "sales@example.org" is a name of that host, "sales" one of all shared hosts; "@example.org" or "@" is the catch-all.
    """
    database_directory(config, "aliases").change(lambda: changing.add_alias(name, targets))
    click.echo(f"{name} leads to {', '.join(targets)}", err=True)


@alias.command("remove")
@click.argument("name")
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@config_option
def remove_alias(name: str, targets: tuple[str, ...], config: str | None) -> None:
    """Have NAME lead to these targets no more; without any, to none."""
    database_directory(config, "aliases").change(lambda: changing.remove_alias(name, targets))
    click.echo(f"{name} leads no more to {', '.join(targets) or 'anybody'}", err=True)


@alias.command("list")
@_json_option
@config_option
def list_aliases(as_json: bool, config: str | None) -> None:
    """Each alias, and its targets."""
    found: dict[str, list[str]] = {}
    for each in database_directory(config, "aliases").rows().aliases:
        found.setdefault(full_name(each.host, each.name), []).append(each.target)
    if as_json:
        click.echo(json.dumps([{"name": name, "targets": targets} for name, targets in sorted(found.items())]))
        return
    if not found:
        click.echo("no aliases yet: mailagent alias add NAME TARGET", err=True)
    for name, targets in sorted(found.items()):
        click.echo(f"{printable(name)}\t{printable(','.join(targets))}")
