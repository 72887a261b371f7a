"""C{mailagent queue}, on real databases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from mailagent.cli import queue as cli
from mailagent.cli.main import main
from mailagent.queue import inspection
from mailagent.queue.operator import BATCH, Change, Operator
from mailagent.queue.store import Store
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.peers.server import DEADLINE, environment
from tests.queue.support import deferred, message

CONFIG = 'hostname = "mx.example.org"\nstate = "{state}"\n[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n'
BODY = b"Subject: x\n\nhi\n"


class Site:
    """A state directory with a queue, and the command that is run there."""

    def __init__(self, directory: Path, database: Database | None = None) -> None:
        self.directory = directory
        self.database = database or Database(directory)
        self.store = Store("here", "mx.example.org")
        self.database.write(self.store.start)
        self.config = directory / "mailagent.toml"
        url = f'queue.url = "{database.url.render_as_string(hide_password=False)}"\n' if database else ""
        self.config.write_text(url + CONFIG.format(state=directory))

    def put(self, id_: str, *to: str, age: float = 0.0, body: bytes = BODY) -> None:
        self.database.write(self.store.insert, [message(id_, *to)], body, time.time() - age)

    def run(self, *words: str, **options: Any) -> Result:
        command, *rest = words
        return CliRunner().invoke(main, ["queue", command, "--config", str(self.config), *rest], **options)

    def json(self, *words: str) -> list[dict[str, Any]]:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.database:
        yield site


def test_list_gives_a_line_for_each_recipient(site: Site) -> None:
    site.put("m1", "a@a.example", "b@b.example", age=7200)
    done = site.run("list")
    assert done.exit_code == 0
    assert done.stdout == (
        "m1\tqueued\t2 h\t0\t<ann@example.org>\ta@a.example\t\nm1\tqueued\t2 h\t0\t<ann@example.org>\tb@b.example\t\n"
    )


def test_list_leaves_out_what_has_left_the_queue_unless_it_is_asked_for(site: Site) -> None:
    site.put("m1", "a@a.example")
    assert site.run("drop", "m1").stdout == "m1 <a@a.example>: dropped\n"
    assert site.json("list") == []
    for words in (["m1"], ["--state", "dropped"]):
        assert [row["state"] for row in site.json("list", *words)] == ["dropped"]


def test_list_takes_filters(site: Site) -> None:
    site.put("m1", "a@a.example", age=7200)
    site.put("m2", "b@bücher.example")
    assert [row["id"] for row in site.json("list", "--domain", "BÜCHER.example")] == ["m2"]
    assert [row["id"] for row in site.json("list", "--older-than", "1 h")] == ["m1"]
    assert [row["id"] for row in site.json("list", "--recipient", "@a.example")] == ["m1"]
    assert [row["id"] for row in site.json("list", "--sender", "")] == []


def test_what_a_peer_has_said_cannot_move_the_cursor_or_add_a_line(site: Site) -> None:
    site.put("m1", "a@a.example")
    forged = "UPDATE recipients SET reply_text = 'x' || char(27) || '[2J' || char(9) || 'y', reply_code = 450"
    site.database.write(lambda connection: connection.execute(sa.text(forged)))
    for verb in ("list", "show", "log"):
        shown = site.run(verb, "m1").stdout
        assert "\\x1b[2J" in shown
        assert "\x1b" not in shown


def test_show_tells_envelope_recipients_and_header_and_not_the_body(site: Site) -> None:
    site.put("m1", "a@a.example")
    shown = site.run("show", "m1").stdout
    assert "sender: <ann@example.org>\nreports to: ann@example.org\nlogged in as: ann\n" in shown
    assert "recipient: <a@a.example> queued, next attempt 2" in shown
    assert shown.endswith("\n\nReceived: here\nSubject: x\n")
    (value,) = site.json("show", "m1")
    assert value["header"] == "Received: here\nSubject: x\n"
    assert [entry["recipient"] for entry in value["entries"]] == ["a@a.example"]


def test_log_tells_reception_attempts_and_outcome_in_order(site: Site) -> None:
    site.put("m1", "a@a.example", age=100)
    now = time.time()
    (item,) = site.database.write(site.store.claim, now, 1)
    site.database.write(site.store.settle, item, deferred(item, now + 60), [], now, 1.5)
    received, attempt, outcome = site.run("log", "m1").stdout.splitlines()
    assert received.endswith(" received m1 from <ann@example.org> (ann), 10 octets")
    assert attempt.endswith(
        " attempt for <a@a.example> at mx.there.example [192.0.2.1] (TLS 1.3, 1.5 s): 451 4.3.0 later"
    )
    assert outcome.endswith(" <a@a.example> waits until then 451 4.3.0 later")
    site.run("drop", "m1")
    assert [value["event"] for value in site.json("log", "m1")] == ["received", "attempt", "outcome"]
    assert site.json("log", "m1")[-1]["state"] == "dropped"


def test_dump_gives_the_message_octet_for_octet(site: Site) -> None:
    site.put("m1", "a@a.example", body=b"A: b\n\n\xff\x00\n")
    done = site.run("dump", "m1")
    assert done.stdout_bytes == b"Received: here\nA: b\n\n\xff\x00\n"


def test_stats_tell_of_states_domains_ages_and_what_is_left_alone(site: Site) -> None:
    site.put("m1", "a@a.example", "b@b.example", age=7200)
    site.database.write(site.store.hold_destination, "a.example", time.time() + 1000, "no connection")
    shown = site.run("stats").stdout
    assert "state\tqueued\t2\ndomain\ta.example\t1\ndomain\tb.example\t1\n" in shown
    assert "age\tat least 1 h\t2\n" in shown
    assert "left alone\ta.example: no connection\tuntil 2" in shown
    (value,) = site.json("stats")
    assert (value["states"], value["held"][0]["name"]) == ({"queued": 2}, "a.example")


def test_stats_tell_which_node_leaves_a_place_alone_that_others_may_reach(site: Site) -> None:
    other = Store("there", "mx2.example.org")
    site.database.write(other.start)
    site.put("m1", "a@a.example")
    site.database.write(other.hold_destination, "a.example", time.time() + 1000, "no connection")
    assert "left alone by mx2.example.org\ta.example: no connection\tuntil 2" in site.run("stats").stdout


def test_what_is_on_its_way_to_another_database_is_told_with_that_name(site: Site) -> None:
    site.put("m1", "a@a.example")
    site.database.execute(
        "UPDATE recipients SET state = 'moving:queued', lease_node = 'abc /srv/new.db', reply_code = 450, host = 'mx'"
    )
    for words in (["list"], ["list", "--state", "moving"]):
        assert site.run(*words).stdout.split("\t")[1::5] == ["moving", "to /srv/new.db\n"]
    assert "recipient: <a@a.example> moving to /srv/new.db\n" in site.run("show", "m1").stdout
    assert site.run("log", "m1").stdout.endswith(" <a@a.example> moving to /srv/new.db\n")
    assert "state\tmoving\t1\non its way to\t/srv/new.db\t1\n" in site.run("stats").stdout


@pytest.mark.parametrize("words", [["list"], ["show", "m1"], ["log", "m1"], ["dump", "m1"], ["stats"]])
@pytest.mark.parametrize("running", [True, False])
def test_what_only_looks_changes_nothing(site: Site, words: list[str], running: bool) -> None:
    site.put("m1", "a@a.example")
    if not running:
        site.database.engine.dispose()
    file = site.directory / "queue.db"
    os.utime(file, (1, 1))
    before = file.read_bytes()
    assert site.run(*words).exit_code == 0
    assert (file.read_bytes(), file.stat().st_mtime) == (before, 1)


def test_what_changes_works_while_the_server_has_the_database_open(site: Site) -> None:
    site.put("m1", "a@a.example")
    with site.database.reading.begin() as connection:
        connection.execute(sa.text("SELECT count(*) FROM messages"))
        assert site.run("hold", "m1").exit_code == 0
    assert [row["state"] for row in site.json("list")] == ["held"]
    assert site.run("release", "--state", "held").stdout == "m1 <a@a.example>: released, due now\n"


def test_fail_puts_a_report_into_the_queue(site: Site) -> None:
    site.put("m1", "a@a.example")
    assert site.run("fail", "m1").stdout == "m1 <a@a.example>: returned to the sender\n"
    (report,) = site.json("list")
    assert (report["sender"], report["recipient"]) == ("", "ann@example.org")


@pytest.mark.parametrize("verb", ["retry", "hold", "release", "fail", "drop"])
def test_everything_is_changed_only_by_all(site: Site, verb: str) -> None:
    site.put("m1", "a@a.example")
    site.put("m2", "b@b.example")
    if verb == "release":
        site.run("hold", "--all")
    done = site.run(verb)
    assert done.exit_code == 2
    assert "--all" in done.stderr
    assert len(site.run(verb, "--all").stdout.splitlines()) == 2


def test_each_item_is_told_and_one_that_was_not_changed_is_the_exit_status(site: Site) -> None:
    site.put("m1", "a@a.example")
    site.put("m2", "b@b.example")
    site.database.write(site.store.claim, time.time(), 1, busy=["a.example"])
    done = site.run("drop", "m1", "m2", "m3")
    assert done.exit_code == 1
    assert done.stdout == "m1 <a@a.example>: dropped\nm2 <b@b.example>: in delivery now: left alone\n"
    assert done.stderr == "m3: nothing of that id is chosen\n"


def test_many_are_changed_in_several_transactions(site: Site) -> None:
    site.put("m1", *(f"r{number}@a.example" for number in range(250)))
    assert len(site.run("hold", "--domain", "a.example").stdout.splitlines()) == 250
    assert {row["state"] for row in site.json("list")} == {"held"}


@only_postgresql
@pytest.mark.parametrize(("undone", "status"), [(1, 0), (99, 1)])
def test_a_change_that_another_undid_is_made_again_and_the_nodes_hear_of_what_was_made(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, undone: int, status: int
) -> None:
    site = Site(tmp_path, database)
    site.put("m1", *(f"r{number}@a.example" for number in range(BATCH + 1)))
    change, calls, rings = Operator.change, count(), list[bool]()

    def changing(*arguments: Any, **more: Any) -> list[Change]:
        changes = change(*arguments, **more)
        if 0 < next(calls) <= undone:
            arguments[1].exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
        return changes

    monkeypatch.setattr(Operator, "change", changing)
    monkeypatch.setattr(cli, "ring", lambda engine: rings.append(True))
    done = site.run("hold", "m1")
    assert (done.exit_code, len(done.stdout.splitlines())) == (status, BATCH + (status == 0))
    assert rings == [True]


def test_the_server_can_write_while_what_is_meant_is_looked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = inspection.numbers

    def looking(*arguments: Any) -> list[int]:
        site.put("m2", "b@b.example")
        return numbers(*arguments)

    site.put("m1", "a@a.example")
    monkeypatch.setattr(inspection, "numbers", looking)
    assert site.run("hold", "m1").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [(["show", "m9"], "no message m9"), (["dump", "m9"], "no message m9"), (["log", "m9"], "no message m9")],
)
def test_what_is_not_there_is_said_in_a_line(site: Site, words: list[str], said: str) -> None:
    done = site.run(*words)
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert said in done.stderr


def test_a_database_that_cannot_be_used_is_named_with_the_cause(tmp_path: Path) -> None:
    config = tmp_path / "mailagent.toml"
    config.write_text(CONFIG.format(state=tmp_path))

    def fails(*words: str) -> str:
        done = CliRunner().invoke(main, ["queue", *words, "--config", str(config)])
        assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
        return done.stderr

    file = tmp_path / "queue.db"
    assert fails("list").startswith(f"Error: {file}: no database there")
    assert not file.exists()
    file.write_bytes(b"")
    assert "start the server once" in fails("stats")
    assert "start the server once" in fails("drop", "m1")
    file.write_bytes(b"nonsense" * 1000)
    assert f"{file}: database: file is not a database" in fails("list")


def test_who_may_not_read_it_is_told_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert f"{site.directory}/queue.db: Permission denied" in site.run("list").stderr


def test_a_locked_database_is_said_to_be(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.cli.database.BUSY", 0.01)
    site.put("m1", "a@a.example")
    with site.database.engine.begin():
        done = site.run("drop", "m1")
    assert (done.exit_code, done.stderr) == (1, f"Error: {site.directory}/queue.db: database: database is locked\n")


def test_on_a_terminal_there_is_a_table(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("m1", "[red]a@a.example")
    monkeypatch.setattr("mailagent.cli.queue_text._is_terminal", lambda: True)
    shown = site.run("list", env={"COLUMNS": "120"}).stdout
    assert shown.splitlines()[0].split() == ["id", "state", "age", "attempts", "sender", "recipient", "reply"]
    assert '"[red]a"@a.example' in shown


def test_another_state_directory_has_another_queue(site: Site, tmp_path: Path) -> None:
    site.put("m1", "a@a.example")
    site.config.write_text(CONFIG.format(state=tmp_path / "elsewhere"))
    assert site.run("list").exit_code == 1
    assert site.run("list", "--state-directory", str(tmp_path)).stdout.startswith("m1\t")


def test_who_reads_no_more_of_a_list_is_told_nothing(site: Site) -> None:
    site.put("m1", "a@a.example")
    nobody, there = os.pipe()
    os.close(nobody)
    command = [sys.executable, "-m", "mailagent", "queue", "list", "--json", "--config", str(site.config)]
    with os.fdopen(there, "wb") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, env=environment(), timeout=DEADLINE, check=False
        )
    assert done.stderr == b""
