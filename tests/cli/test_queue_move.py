"""C{mailagent queue move}, between real databases."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from mailagent.cli.main import main
from tests.cli.test_queue import Site
from tests.database.kinds import only_postgresql
from tests.database.support import Database
from tests.queue.support import STORED, all_as


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def run(site: Site, *words: str) -> Result:
    return CliRunner().invoke(main, ["queue", "move", "--config", str(site.config), *words])


@only_postgresql
def test_a_queue_goes_to_postgresql_and_back(site: Site, database: Database) -> None:
    site.put("m1", "a@a.example", "b@b.example")
    url = database.url.render_as_string()
    done = run(site, "--to", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("1 messages moved now to postgresql+psycopg://")
    assert site.json("list") == []
    assert database.rows("SELECT address FROM recipients ORDER BY id") == ["a@a.example", "b@b.example"]
    assert run(site, "--from", url, "--to", "sqlite:///queue.db").exit_code == 0
    assert [row["recipient"] for row in site.json("list")] == ["a@a.example", "b@b.example"]
    assert database.rows("SELECT id FROM messages") == []


def test_a_new_file_is_made_for_it(site: Site) -> None:
    site.put("m1", "a@a.example")
    assert run(site, "--to", "sqlite:///new.db").stdout == f"1 messages moved now to {site.directory}/new.db\n"
    assert run(site, "--from", "sqlite:///none.db", "--to", "sqlite:///new.db").exit_code == 1
    assert not (site.directory / "none.db").exists()


def test_a_directory_that_stays_behind_is_told(site: Site) -> None:
    site.config.write_text(f'state = "{site.directory}"\ndirectory.source = "database"\n')
    assert "directory.url" in run(site, "--to", "sqlite:///new.db").stderr
    site.config.write_text(
        f'state = "{site.directory}"\ndirectory = {{ source = "database", url = "sqlite:///queue.db" }}\n'
    )
    assert run(site, "--from", "sqlite:///new.db", "--to", "sqlite:///newer.db").stderr == ""


def test_it_is_not_moved_to_where_it_is(site: Site) -> None:
    done = run(site, "--to", "sqlite:///queue.db")
    assert done.exit_code == 2
    assert "already" in done.stderr


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_it_is_not_moved_to_where_it_is_by_another_name(site: Site, link: Callable[[Path, Path], None]) -> None:
    site.put("m1", "a@a.example")
    link(site.directory / "queue.db", site.directory / "other.db")
    done = run(site, "--to", "sqlite:///other.db")
    assert (done.exit_code, "already" in done.stderr) == (2, True)
    assert [row["recipient"] for row in site.json("list")] == ["a@a.example"]


def test_what_is_no_database_is_told(site: Site) -> None:
    done = run(site, "--to", "postgres://ann:secret@db/mail")
    assert done.exit_code == 1
    assert "postgresql+psycopg://" in done.stderr
    assert "secret" not in done.output


def test_how_a_database_is_named_is_told(site: Site) -> None:
    assert "sqlite:////absolute/path" in run(site, "--to", "queue.db").stderr


def test_what_cannot_be_read_is_told(site: Site) -> None:
    site.put("m1", "a@a.example")
    site.database.execute("UPDATE messages SET header = 7")
    done = run(site, "--to", "sqlite:///new.db")
    assert done.exit_code == 1
    assert done.stderr == "m1: cannot be read, and stays where it was\n"


def test_what_is_being_delivered_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put("m1", "a@a.example")
    [item] = site.database.write(site.store.claim, 4e9, 1)

    def ended(seconds: float) -> None:
        site.database.write(site.store.settle, item, all_as(item, STORED), [], 4e9, 0.0)

    monkeypatch.setattr("time.sleep", ended)
    done = run(site, "--to", "sqlite:///new.db")
    assert (done.exit_code, done.stderr) == (0, "1 being delivered: waiting for them\n")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://ann:secret@db/mail",
        "postgresql+psycopg://db/mail?password=secret",
        "postgresql+psycopg://db/mail?sslpassword=secret",
        "postgresql+psycopg://db/mail?pasword=secret",
    ],
)
@pytest.mark.parametrize("option", ["--to", "--from"])
def test_a_password_is_no_argument(site: Site, option: str, url: str) -> None:
    other = [] if option == "--to" else ["--to", "sqlite:///new.db"]
    done = run(site, option, url, *other)
    assert done.exit_code == 2
    assert "pgpass" in done.stderr
    assert "secret" not in done.output


def test_a_move_can_be_abandoned_and_what_the_target_may_have_is_told(site: Site) -> None:
    site.put("m1", "a@a.example")
    site.put("m2", "b@b.example")
    site.database.execute("UPDATE recipients SET state = 'moving:queued', lease_node = 'abc /srv/new.db'")
    done = run(site, "--abandon")
    assert (done.exit_code, done.stdout) == (0, "2 messages wait here again\n")
    assert "what /srv/new.db has of them is delivered from there as well" in done.stderr
    assert [row["state"] for row in site.json("list")] == ["queued", "queued"]
    done = run(site, "--abandon", "--from", "sqlite:///queue.db")
    assert (done.stdout, done.stderr) == ("0 messages wait here again\n", "")


@only_postgresql
def test_the_nodes_hear_of_what_waits_again(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rings: list[sa.Engine] = []
    monkeypatch.setattr("mailagent.cli.queue_move.ring", rings.append)
    assert run(Site(tmp_path, database), "--abandon").exit_code == 0
    assert len(rings) == 1


@pytest.mark.parametrize("words", [[], ["--abandon", "--to", "sqlite:///new.db"]])
def test_it_is_said_whether_to_go_on_or_to_give_up(site: Site, words: list[str]) -> None:
    done = run(site, *words)
    assert (done.exit_code, "--abandon" in done.stderr) == (2, True)
    assert not (site.directory / "new.db").exists()
