"""TLS to a real PostgreSQL, as the URL asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from mailagent.database.engine import for_reading
from mailagent.database.trouble import trouble
from mailagent.interfaces import StorageFailed
from tests.postgres import Postgres, running
from tests.smtp.certificates import write_pair

pytestmark = pytest.mark.requires("initdb")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, str]]:
    """A server that speaks TLS as C{localhost}, and whose certificate it is."""
    pair = write_pair(tmp_path_factory.mktemp("tls"), "localhost")
    with running() as server:
        for name, path in (("server.crt", pair.certificate), ("server.key", pair.key)):
            _install(server.data / name, Path(path).read_bytes())
        server.execute("ALTER SYSTEM SET ssl = on")
        server.execute("SELECT pg_reload_conf()")
        yield server, pair.certificate


def _install(path: Path, content: bytes) -> None:
    """Make a file that belongs to the server, and that it alone can read."""
    path.touch(0o600)
    path.write_bytes(content)
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def _tls(url: sa.URL) -> object:
    """By what version of TLS we get there."""
    engine = for_reading(url)
    with trouble(), engine.connect() as connection:
        return connection.scalar(sa.text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))


def test_the_way_to_the_database_is_secured_and_its_name_verified(secured: tuple[Postgres, str]) -> None:
    server, certificate = secured
    strict = {"sslmode": "verify-full", "sslrootcert": certificate}
    assert _tls(server.url("postgres", "localhost", **strict)) == "TLSv1.3"
    with pytest.raises(StorageFailed, match="does not match host name"):
        _tls(server.url("postgres", "127.0.0.1", **strict))


def test_a_database_with_another_certificate_is_not_spoken_to(secured: tuple[Postgres, str], tmp_path: Path) -> None:
    server, _ = secured
    other = write_pair(tmp_path, "localhost").certificate
    with pytest.raises(StorageFailed, match="certificate"):
        _tls(server.url("postgres", "localhost", sslmode="verify-full", sslrootcert=other))


def test_one_that_has_no_tls_is_not_spoken_to_where_the_url_wants_it(postgres: Postgres) -> None:
    with pytest.raises(StorageFailed, match="SSL"):
        _tls(postgres.url("postgres", "127.0.0.1", sslmode="require"))
