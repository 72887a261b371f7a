"""C{mailagent nodes}: who takes part in the queue, and whether they live. Works from any node, and on a SQLite queue,
which has one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click
import sqlalchemy as sa

from mailagent.cli.database import ConfiguredDatabase
from mailagent.cli.options import config_option
from mailagent.cli.queue_text import moment, plain, show_json, show_rows, span
from mailagent.database.transaction import transact
from mailagent.queue.store_nodes import Node, forget, listed

_COLUMNS = ("name", "id", "version", "state", "leased", "started", "heartbeat")
#: Characters of an id that are shown where it is not for a program.
_SHORT = 8
_STATE_DIRECTORY = click.option(
    "--state-directory", metavar="DIRECTORY", help="The server's, where its configuration names another."
)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="JSON, one document a line.")
@config_option
@_STATE_DIRECTORY
@click.pass_context
def nodes(context: click.Context, as_json: bool, config: str | None, state_directory: str | None) -> None:
    """The servers that share the queue: their versions, what they have in hand, when they were last heard of."""
    if context.invoked_subcommand is not None:
        context.obj = config, state_directory
        return
    with ConfiguredDatabase(config, state_directory).reading() as connection:
        found = listed(connection)
    if as_json:
        show_json(map(plain, found))
    else:
        show_rows(map(_row, found), _COLUMNS)


def _row(node: Node) -> dict[str, str]:
    texts = {
        "id": node.id[:_SHORT],
        "started": moment(node.started),
        "heartbeat": f"{span(node.silent)} ago",
    }
    return {name: texts.get(name, str(getattr(node, name))) for name in _COLUMNS}


@nodes.command("forget")
@click.argument("node", metavar="NAME|ID")
@config_option
@_STATE_DIRECTORY
@click.pass_context
def forget_node(context: click.Context, node: str, config: str | None, state_directory: str | None) -> None:
    """Have others take up at once what a dead node has in hand, and list it no more.

    NAME is its host name, ID its id or the beginning of it. One that is alive is not forgotten.
    """
    outer: tuple[str | None, str | None] = context.obj
    with (
        ConfiguredDatabase(config or outer[0], state_directory or outer[1]).writing() as engine,
        engine.connect() as connection,
    ):
        chosen, freed = transact(connection, partial(_forget, named=node))
    click.echo(f"{chosen.name} ({chosen.id[:_SHORT]}): forgotten, recipients it had in hand: {freed}")


def _forget(connection: sa.Connection, named: str) -> tuple[Node, int]:
    """Who that is, and how many recipients it had in hand."""
    chosen = _chosen(listed(connection), named)
    freed = forget(connection, chosen.id)
    if freed is None:
        raise click.ClickException(f"{chosen.name} ({chosen.id[:_SHORT]}) is alive: stop it first")
    return chosen, freed


def _chosen(found: Sequence[Node], named: str) -> Node:
    """The node of this name, or whose id begins so."""
    matching = [node for node in found if named == node.name or (named and node.id.startswith(named))]
    if not matching:
        raise click.ClickException(f"{named}: no such node")
    if len(matching) > 1:
        ids = ", ".join(node.id[:_SHORT] for node in matching)
        raise click.ClickException(f"{named}: several nodes, name one by its id: {ids}")
    return matching[0]
