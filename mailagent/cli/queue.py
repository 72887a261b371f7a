"""C{mailagent queue}: look into the queue, and put it right. Works whether the server runs or not.

What only looks changes nothing. What changes something says of each recipient what has happened.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import SystemRandom
from typing import Any

import click

from mailagent.cli.database import ConfiguredDatabase
from mailagent.cli.options import config_option
from mailagent.cli.queue_text import lines, moment, plain, show_json, show_rows, span
from mailagent.config.units import duration
from mailagent.database.bell import ring
from mailagent.database.transaction import transact
from mailagent.envelope.address import canonical_domain
from mailagent.envelope.printable import printable
from mailagent.queue import inspection
from mailagent.queue.inspection import Entry, NoSuchMessage, Statistics, Told
from mailagent.queue.items import UNFINISHED
from mailagent.queue.marked import MOVING
from mailagent.queue.operator import BATCH, VERBS, Change, Operator
from mailagent.queue.selection import ACTIVE, STATES, Selection

_COLUMNS = ("id", "state", "age", "attempts", "sender", "recipient", "reply")
#: What decorators of a command pass on.
_Command = Callable[..., None]


def _age(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else duration(value)
    except ValueError:
        raise click.BadParameter(f'{value!r} is not a length of time, such as "4 h"') from None


def _domain(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else canonical_domain(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_FILTERS = [
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    click.option("--sender", metavar="ADDRESS", help='"" is the null one; @DOMAIN, all of a domain.'),
    click.option("--recipient", metavar="ADDRESS", help="@DOMAIN: all of a domain."),
    click.option("--domain", metavar="DOMAIN", callback=_domain, help="Where it goes."),
    click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Repeatable."),
    click.option("--older-than", "--age", "age", metavar="TIME", callback=_age, help='Such as "4 h".'),
]
_PLACES = [
    config_option,
    click.option("--state-directory", metavar="DIRECTORY", help="The server's, where its configuration names another."),
]
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON, one document a line.")
_ALL = click.option("--all", "everything", is_flag=True, help="Needed where nothing is chosen.")


def _with(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


@click.group()
def queue() -> None:
    """Mail that waits for its next attempt. Works whether the server runs or not."""


@queue.command("list")
@_with(*_FILTERS, _JSON, *_PLACES)
def list_items(as_json: bool, config: str | None, state_directory: str | None, **given: Any) -> None:
    """What waits: a line for each recipient. With IDs or --state, also what has left the queue."""
    now = time.time()
    chosen = Selection(**given).among([*UNFINISHED, ACTIVE, MOVING])
    with ConfiguredDatabase(config, state_directory).reading() as connection:
        found = inspection.entries(connection, chosen, now)
        if as_json:
            show_json(map(plain, found))
        else:
            show_rows((_row(entry, now) for entry in found), _COLUMNS)


def _row(entry: Entry, now: float) -> dict[str, str]:
    host = f"{entry.host}: " if entry.host and entry.reply and not entry.target else ""
    texts = {"sender": f"<{entry.sender}>", "age": span(now - entry.created), "reply": f"{host}{_why(entry)}"}
    return {name: texts.get(name, str(getattr(entry, name, ""))) for name in _COLUMNS}


def _why(entry: Entry) -> str:
    """What a recipient's state comes from: the last reply, or a move to another database."""
    return f"to {entry.target}" if entry.target else entry.reply


@queue.command()
@_with(click.argument("id", metavar="ID"), _JSON, *_PLACES)
def show(id: str, as_json: bool, config: str | None, state_directory: str | None) -> None:
    """A message's envelope, recipients and header."""
    told = _told(config, state_directory, id)
    if as_json:
        show_json([{name: value for name, value in plain(told).items() if name not in ("tries", "trace")}])
        return
    for line in _envelope(told):
        click.echo(line)
    for entry in told.entries:
        due = f", next attempt {moment(entry.due)}" if entry.due is not None else ""
        click.echo(printable(f"recipient: <{entry.recipient}> {entry.state}{due} {_why(entry)}".rstrip()))
    click.echo()
    header = told.header if told.header is not None else b"(its content is no longer kept)"
    for line in header.decode("utf-8", "replace").splitlines():
        click.echo(printable(line.replace("\t", "    ")))


def _envelope(told: Told) -> Iterator[str]:
    return lines(
        [
            ("id", told.id),
            ("received", moment(told.created)),
            ("sender", f"<{told.sender}>"),
            ("reports to", told.report_to or "nobody"),
            ("logged in as", told.login),
            ("octets", told.size),
            ("envelope id", told.envelope_id),
        ]
    )


@queue.command()
@_with(click.argument("id", metavar="ID"), _JSON, *_PLACES)
def log(id: str, as_json: bool, config: str | None, state_directory: str | None) -> None:
    """A message's history: received, each attempt, what became of each recipient."""
    told = _told(config, state_directory, id)
    if as_json:
        show_json(_history_values(told))
        return
    who = f" ({told.login})" if told.login else ""
    click.echo(printable(f"{moment(told.created)} received {told.id} from <{told.sender}>{who}, {told.size} octets"))
    for attempt in told.tries:
        place = " ".join(filter(None, [attempt.host, f"[{attempt.address}]" if attempt.address else ""]))
        where = f"at {place}" if place else "here"
        how = f"{attempt.tls or 'no TLS'}, " if attempt.address else ""
        words = f"attempt for <{attempt.recipient}> {where} ({how}{attempt.seconds:.1f} s): {attempt.reply}"
        click.echo(printable(f"{moment(attempt.at)} {words}"))
    for entry in told.entries:
        when = entry.finished if entry.finished is not None else entry.due
        what = entry.state if entry.due is None else "waits until then"
        words = f"{'now' if when is None else moment(when)} <{entry.recipient}> {what} {_why(entry)}"
        click.echo(printable(words.rstrip()))


def _history_values(told: Told) -> Iterator[dict[str, object]]:
    values = plain(told)
    attempts, recipients = values["tries"], values["entries"]
    assert isinstance(attempts, list | tuple)
    assert isinstance(recipients, list | tuple)
    kept = ("id", "created", "sender", "report_to", "login", "size", "envelope_id")
    yield {"event": "received", **{name: values[name] for name in kept}}
    yield from ({"event": "attempt", "id": told.id, **each} for each in attempts)
    yield from ({"event": "outcome", **each} for each in recipients)


@queue.command()
@_with(click.argument("id", metavar="ID"), *_PLACES)
def dump(id: str, config: str | None, state_directory: str | None) -> None:
    """The raw message, as it is kept (line ends LF), to standard output."""
    with ConfiguredDatabase(config, state_directory).reading() as connection:
        try:
            for piece in inspection.raw(connection, id):
                sys.stdout.buffer.write(piece)
        except NoSuchMessage as error:
            raise click.ClickException(str(error)) from None
        sys.stdout.buffer.flush()


@queue.command()
@_with(_JSON, *_PLACES)
def stats(as_json: bool, config: str | None, state_directory: str | None) -> None:
    """How much waits, where, since when, and which destinations are left alone now."""
    now = time.time()
    with ConfiguredDatabase(config, state_directory).reading() as connection:
        found = inspection.statistics(connection, now)
    if as_json:
        show_json([plain(found)])
    else:
        show_rows(_counted(found, now), ("what", "which", "count"))


def _counted(found: Statistics, now: float) -> Iterator[dict[str, str]]:
    for state in STATES:
        if state in found.states:
            yield {"what": "state", "which": state, "count": str(found.states[state])}
    for name, count in found.moving.items():
        yield {"what": "on its way to", "which": name, "count": str(count)}
    for name, count in found.destinations.items():
        yield {"what": "domain", "which": name, "count": str(count)}
    for least, count in found.ages.items():
        if count:
            yield {"what": "age", "which": f"at least {span(least)}", "count": str(count)}
    if found.oldest is not None:
        yield {"what": "oldest", "which": moment(found.oldest), "count": span(now - found.oldest)}
    for held in found.held:
        what = f"left alone by {held.node}" if held.node else "left alone"
        yield {"what": what, "which": f"{held.name}: {held.reason}", "count": f"until {moment(held.until)}"}


def _told(config: str | None, state_directory: str | None, message_id: str) -> Told:
    with ConfiguredDatabase(config, state_directory).reading() as connection:
        try:
            return inspection.tell(connection, message_id)
        except NoSuchMessage as error:
            raise click.ClickException(str(error)) from None


def _changing(name: str, help_: str) -> None:
    """Make the command for one of L{mailagent.queue.operator.VERBS}."""

    @queue.command(name, help=help_)
    @_with(*_FILTERS, _ALL, _JSON, *_PLACES)
    def command(everything: bool, as_json: bool, config: str | None, state_directory: str | None, **given: Any) -> None:
        selection = Selection(**given)
        if selection.is_open and not everything:
            raise click.UsageError("name messages, choose by options, or say --all")
        database = ConfiguredDatabase(config, state_directory)
        changes = _changes(database, name, selection.among(sorted(VERBS[name].states)))
        missed = set(selection.ids)
        not_done = False
        for change in changes:
            missed.discard(change.id)
            not_done = not_done or not change.done
            if as_json:
                show_json([plain(change)])
            else:
                click.echo(printable(f"{change.id} <{change.recipient}>: {change.text}"))
        for message_id in sorted(missed):
            click.echo(f"{message_id}: nothing of that id is chosen", err=True)
        if missed or not_done:
            sys.exit(1)


def _changes(database: ConfiguredDatabase, name: str, selection: Selection) -> Iterator[Change]:
    operator = Operator(database.config.hostname, time.time, SystemRandom())
    with database.reading() as connection:  # all the queue, perhaps: the server may write meanwhile
        numbers = inspection.numbers(connection, selection, time.time())
    with database.writing() as engine:
        try:
            with engine.connect() as connection:
                for start in range(0, len(numbers), BATCH):
                    some = numbers[start : start + BATCH]
                    yield from transact(connection, partial(operator.change, name=name, numbers=some))
        finally:
            ring(engine)  # also where it ends half way


_changing("retry", "Try again now, also where the destination is left alone.")
_changing("hold", "Keep, and do not try until released. It is not given up meanwhile.")
_changing("release", "Try again what is held.")
_changing("fail", "Return to the sender, with a report.")
_changing("drop", "Remove, and tell nobody.")
