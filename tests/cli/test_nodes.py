"""C{mailagent nodes}, on real databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailagent import __version__
from mailagent.cli.main import main
from mailagent.queue.store import Store
from tests.database.support import Database
from tests.queue.support import NOW, message

CONFIG = """
hostname = "mx.example.org"
state = "{state}"
queue.url = "{url}"
[whitelist]
hosts = ["example.org"]
users = ["ann"]
"""
HERE, THERE = "a" * 32, "ab" + "c" * 30


class Site:
    """A configuration, and the database it names, with two nodes: one has something in hand."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.database = database
        here, there = Store(HERE, "mx1.example.org"), Store(THERE, "mx2.example.org")
        for store in (here, there):
            database.write(store.start)
        database.write(there.insert, [message("m1", "a@a.example", "b@a.example")], b"", NOW)
        assert database.write(there.claim, NOW, 10)
        self.config = directory / "mailagent.toml"
        url = database.url.render_as_string(hide_password=False)
        self.config.write_text(CONFIG.format(state=directory, url=url))

    def silence(self, node: str) -> None:
        self.database.execute("UPDATE nodes SET heartbeat = heartbeat - 100 WHERE id = ?", node)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["nodes", "--config", str(self.config), *words])


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Site:
    return Site(tmp_path, database)


def test_nodes_are_listed_by_name(site: Site) -> None:
    site.silence(THERE)
    done = site.run()
    assert done.exit_code == 0, done.output
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:5] for line in lines] == [
        ["mx1.example.org", HERE[:8], __version__, "alive", "0"],
        ["mx2.example.org", THERE[:8], __version__, "silent", "2"],
    ]
    assert lines[1][6] == "1 min ago"


def test_nodes_are_listed_for_programs(site: Site) -> None:
    done = site.run("--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["id"], first["state"], first["leased"], second["leased"]) == (HERE, "alive", 0, 2)
    assert first["heartbeat"].endswith("+00:00")


@pytest.mark.parametrize("named", ["mx2.example.org", THERE, "abc"])
def test_a_dead_node_is_forgotten(site: Site, named: str) -> None:
    site.silence(THERE)
    done = site.run("forget", named)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"mx2.example.org ({THERE[:8]}): forgotten, recipients it had in hand: 2\n"
    assert site.database.rows("SELECT id FROM nodes") == [HERE]
    assert site.database.rows("SELECT count(*) FROM recipients WHERE lease_token IS NOT NULL") == [0]


def test_a_node_that_lives_is_not_forgotten(site: Site) -> None:
    done = site.run("forget", "mx2.example.org")
    assert (done.exit_code, done.stderr) == (1, f"Error: mx2.example.org ({THERE[:8]}) is alive: stop it first\n")
    assert len(site.database.rows("SELECT id FROM nodes")) == 2


@pytest.mark.parametrize(("named", "why"), [("mx3", "no such node"), ("a", "several nodes"), ("", "no such node")])
def test_a_node_must_be_named_so_that_it_is_one(site: Site, named: str, why: str) -> None:
    site.silence(HERE)
    done = site.run("forget", named)
    assert done.exit_code == 1
    assert why in done.stderr
    assert len(site.database.rows("SELECT id FROM nodes")) == 2


def test_the_configuration_may_be_named_behind_the_command(site: Site) -> None:
    done = CliRunner().invoke(main, ["nodes", "forget", "mx3", "--config", str(site.config)])
    assert "no such node" in done.stderr
