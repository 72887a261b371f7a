"""C{mailagent queue move}: take the queue to another database, while servers work on either."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
import sqlalchemy as sa

from mailagent.cli.database import ConfiguredDatabase
from mailagent.cli.options import config_option
from mailagent.config.values import DATABASE
from mailagent.database.bell import ring
from mailagent.database.engine import has_secret, shown
from mailagent.database.migration import migrate
from mailagent.envelope.printable import printable
from mailagent.queue import moving
from mailagent.queue.moving import MoveRefused

#: Seconds between looks at what is being delivered.
_PAUSE = 1.0


@click.command("move")
@click.option("--to", "target", metavar="URL", help="The database to move to; made ready if it is new.")
@click.option("--from", "source", metavar="URL", help="The one to move from; else that of the configuration.")
@click.option("--abandon", is_flag=True, help="Have what is on its way wait here again: its database is gone for good.")
@config_option
@click.option("--state-directory", metavar="DIRECTORY", help="The server's, where its configuration names another.")
def move(
    target: str | None, source: str | None, abandon: bool, config: str | None, state_directory: str | None
) -> None:
    """Take all that waits, and its history, to another database.

    Servers may be at work on either. What one has in hand is moved when that attempt has ended. A move that was cut off
    is taken up where it was by the same command; --abandon, in place of --to, gives it up. A directory in the database
    stays there.
    """
    here = ConfiguredDatabase(config, state_directory, url=source)
    if source:
        _refuse_secrets(here.url)
    if target and not abandon:
        there = ConfiguredDatabase(config, state_directory, url=target, new=True)
        _refuse_secrets(there.url)
        _move(here, there)
    elif abandon and not target:
        _abandon(here)
    else:
        raise click.UsageError(
            "say where --to, also to go on with a move; or --abandon, if that database is gone for good"
        )


def _refuse_secrets(url: sa.URL) -> None:
    if has_secret(url):
        raise click.UsageError("others can see arguments: have the password in ~/.pgpass, or a ?passfile=")


def _move(here: ConfiguredDatabase, there: ConfiguredDatabase) -> None:
    if _is_one(here.url, there.url):  # before it is opened: by two names, SQLite would spoil it
        raise click.UsageError("the queue is there already: name another database, or what to move --from")
    with here.writing() as one, here.looking() as reading, there.writing(migrate) as other, _refusals():
        moved = moving.move(one, reading, other, shown(there.url), _wait)
    click.echo(f"{moved.count} messages moved now to {shown(there.url)}")
    if here.config.directory.source == DATABASE and here.config.directory.url is None:
        click.echo("the directory stays: before queue.url is changed, have directory.url say where", err=True)
    for id_ in moved.unfit:
        click.echo(f"{id_}: cannot be read, and stays where it was", err=True)
    if moved.unfit:
        sys.exit(1)


def _abandon(here: ConfiguredDatabase) -> None:
    with here.writing() as engine, _refusals():
        count, names = moving.abandon(engine)
        ring(engine)
    click.echo(f"{count} messages wait here again")
    for name in names:
        words = f"what {name} has of them is delivered from there as well, should a server use it again"
        click.echo(printable(words), err=True)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except MoveRefused as error:
        raise click.ClickException(printable(str(error))) from None


def _is_one(here: sa.URL, there: sa.URL) -> bool:
    """Whether these are alike, or names of the same SQLite file (by hard links, say)."""
    if here.get_backend_name() == there.get_backend_name() == "sqlite":
        with suppress(FileNotFoundError):
            return os.path.samefile(str(here.database), str(there.database))
    return here == there


def _wait(busy: int) -> None:
    click.echo(f"{busy} being delivered: waiting for them", err=True)
    time.sleep(_PAUSE)
