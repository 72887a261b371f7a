"""How the database is opened."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from mailagent import database as room
from mailagent.config import driver
from mailagent.database.engine import database_url, for_reading, for_writing, has_secret, shown
from mailagent.interfaces import StorageFailed
from tests.database.support import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


def test_a_relative_file_is_in_the_state_directory(tmp_path: Path) -> None:
    assert database_url("sqlite:///queue.db", str(tmp_path)).database == str(tmp_path / "queue.db")


def test_an_absolute_file_is_where_it_says(tmp_path: Path) -> None:
    assert database_url("sqlite:////srv/queue.db", str(tmp_path)).database == "/srv/queue.db"


@pytest.mark.parametrize("text", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "no url with secret"])
def test_what_is_not_a_database_to_keep_mail_in_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"database") as caught:
        database_url(text, "/state")
    assert "secret" not in str(caught.value)


def test_a_commit_is_on_stable_storage(database: Database) -> None:
    with database.engine.begin() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]


def test_only_we_can_read_the_file(database: Database) -> None:
    assert stat.S_IMODE(Path(str(database.url.database)).stat().st_mode) == 0o600


def test_a_writer_has_its_place_before_it_has_read_anything(database: Database) -> None:
    other = Database(Path(str(database.url.database)).parent, busy=0.0).engine
    with database.engine.begin(), pytest.raises(sa.exc.OperationalError, match="locked"):
        other.connect().begin()


def test_a_reader_is_not_held_up_and_sees_what_was_committed(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO staged VALUES ('m', 0)")
        assert database.rows("SELECT count(*) FROM staged") == [0]
    assert database.rows("SELECT count(*) FROM staged") == [1]


@pytest.mark.parametrize("statement", ["DELETE FROM staged", "CREATE TABLE more (x INT)", "PRAGMA user_version = 7"])
def test_a_reader_cannot_change_anything(database: Database, statement: str) -> None:
    with database.reading.begin() as connection, pytest.raises(sa.exc.OperationalError, match="readonly"):
        connection.exec_driver_sql(statement)


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    engine = for_reading(database_url("sqlite:///none.db", str(tmp_path)))
    with pytest.raises(sa.exc.OperationalError, match="unable to open"):
        engine.connect()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "100% odd?#&"
    odd.mkdir()
    with Database(odd) as database:
        assert database.rows("SELECT count(*) FROM staged") == [0]


def test_text_that_is_not_utf_8_is_no_error_of_the_whole_row(database: Database) -> None:
    database.execute("INSERT INTO staged VALUES (CAST(x'ff61' AS TEXT), 0)")
    assert database.rows("SELECT message_id FROM staged") == ["\udcffa"]


@pytest.mark.parametrize("name", ["password", "sslpassword", "pasword", "PASSWORD", "oauth_client_secret"])
def test_a_database_is_shown_without_a_password_or_what_may_be_one(name: str) -> None:
    url = sa.make_url(f"postgresql+psycopg://ann@db/mail?{name}=secret&sslmode=require")
    assert shown(url) == "postgresql+psycopg://ann@db/mail?sslmode=require"
    assert has_secret(url)


def test_what_is_no_secret_is_shown() -> None:
    assert shown(sa.make_url("postgresql+psycopg://ann:secret@db/mail")) == "postgresql+psycopg://ann:***@db/mail"
    plain = sa.make_url("postgresql+psycopg://ann@/mail?host=db1%3A5432&passfile=%2Fetc%2Fpgpass")
    assert sa.make_url(shown(plain)) == plain
    assert not has_secret(plain)
    assert shown(database_url("sqlite:///queue.db?timeout=5", "/state")) == "/state/queue.db"
    assert not has_secret(database_url("sqlite:///queue.db?timeout=5", "/state"))


@pytest.mark.parametrize("password", ["sec@ret", "s@ec@ret", "s@/ecret", "s@:ecret", "s@?x=ecret", "s/@ecret"])
def test_a_password_with_an_at_sign_as_it_is_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="written %40") as caught:
        database_url(f"postgresql+psycopg://ann:{password}@db/mail", "/state")
    assert "ret" not in str(caught.value)
    escaped = database_url(f"postgresql+psycopg://ann:{quote(password, safe='')}@db/mail", "/state")
    assert (escaped.password, escaped.host, escaped.database) == (password, "db", "mail")


@pytest.mark.parametrize("text", ["queue.db", "/srv/queue.db", "mysql://db/mail"])
def test_who_names_no_database_is_told_how_one_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite:////absolute/path or postgresql\+psycopg://user@host/name"):
        database_url(text, "/state")


def test_postgresql_without_its_driver_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install"):
        database_url("postgresql+psycopg://ann:secret@db/mail", "/state")


def test_a_driver_that_does_not_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mailagent.database.postgresql", None)
    monkeypatch.delattr(room, "postgresql", raising=False)
    with pytest.raises(StorageFailed, match="driver"):
        for_writing(sa.make_url("postgresql+psycopg://db/mail"))


def test_a_file_is_named_without_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("queue.db")
    linked, named = (database_url(f"sqlite:///{name}", str(tmp_path)) for name in ("link.db", "queue.db"))
    assert linked == named
