"""The database, opened: for the one writer, and for readers.

A transaction of the writer begins as one that writes (C{BEGIN IMMEDIATE}), so that it waits for another process's
before it has read anything, and a commit is on stable storage when it returns (WAL, C{synchronous=FULL}). Readers see
what was committed when they began, hold nobody up, and cannot change anything. That is SQLite; of PostgreSQL
L{mailagent.database.postgresql} tells.
"""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from mailagent.config.driver import POSTGRESQL, missing_driver
from mailagent.database.ending import keep_endings
from mailagent.interfaces import StorageFailed

#: How a database is named.
_EXPECTED = (
    f"sqlite:////absolute/path or {POSTGRESQL}://user@host/name, where an @ in the user's name or a password is "
    "written %40"
)
#: What libpq takes in a URL and everybody may see. Of all else we cannot say: it may be a password's name, spelt wrong.
_OPEN = re.compile(
    "application_name|channel_binding|client_encoding|connect_timeout|dbname|fallback_application_name"
    "|gss(delegation|encmode|lib)|host(addr)?|keepalives(_count|_idle|_interval)?|krbsrvname|load_balance_hosts"
    "|(ssl_)?m(ax|in)_protocol_version|options|passfile|port|replication|require_auth|requirepeer|service"
    "|ssl(cert(mode)?|compression|crl(dir)?|key|mode|negotiation|rootcert|sni)|target_session_attrs|tcp_user_timeout|user"
)
#: Seconds for which we wait for another process's transaction.
BUSY = 5.0


def database_url(text: str, state: str) -> sa.URL:
    """What the configuration calls the database; a relative SQLite file is in the C{state} directory, and the file is
    named without symbolic links, so that two names of one are alike.

    @raise ValueError: not a URL, a database of another kind, one without its driver, or a SQLite database that is
        not a file. Its text is not in the message, as it could hold a password.
    """
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(f"not a database URL: {_EXPECTED}") from None
    if url.drivername == POSTGRESQL:
        if text.count("@") > 1 or "@" in (url.database or ""):  # of a password, the rest would be shown as the host
            raise ValueError(f"one @ too many: {_EXPECTED}")
        if missing := missing_driver(text):
            raise ValueError(missing)
        return url
    if url.drivername != "sqlite":
        raise ValueError(f"not a database we know: {_EXPECTED}")
    if not url.database or url.database.startswith((":", "file:")):
        raise ValueError("a SQLite database must be a file")
    return url.set(database=os.path.realpath(os.path.join(state, url.database)))


def shown(url: sa.URL) -> str:
    """A database's name for people, without what L{has_secret} is about."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.difference_update_query(_hidden(url)).render_as_string(hide_password=True)


def has_secret(url: sa.URL) -> bool:
    """Whether a database's URL has a password in it, or what may be one."""
    return url.password is not None or bool(_hidden(url))


def _hidden(url: sa.URL) -> set[str]:
    """Parameters that nobody may see."""
    if url.get_backend_name() != "postgresql":
        return set()
    return {name for name in url.query if not _OPEN.fullmatch(name)}


def for_writing(url: sa.URL, busy: float = BUSY) -> sa.Engine:
    """The database for its writer; a SQLite file is made, readable by us alone, where there is none yet.

    @raise OSError: the file cannot be made.
    @raise StorageFailed: the driver of PostgreSQL cannot be used.
    """
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = sa.create_engine(url, connect_args={"timeout": busy})
        _prepare(engine, "BEGIN IMMEDIATE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
    else:
        engine = _postgresql(url, writes=True)
    keep_endings(engine)
    return engine


def for_reading(url: sa.URL, busy: float = BUSY) -> sa.Engine:
    """The database for those who only look. Nothing can be written by its connections."""
    if url.get_backend_name() != "sqlite":
        return _postgresql(url, writes=False, execution_options={"postgresql_readonly": True})
    assert url.database is not None
    read_only = url.set(database=f"file:{quote(url.database)}", query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(read_only, connect_args={"timeout": busy})
    _prepare(engine, "BEGIN")
    return engine


def _postgresql(url: sa.URL, **more: Any) -> sa.Engine:
    try:
        from mailagent.database import postgresql  # whose driver not everybody has
    except ImportError as error:
        raise StorageFailed(f"the driver of PostgreSQL does not work here: {error}") from None
    return postgresql.engine(url, **more)


def _prepare(engine: sa.Engine, begin: str, *settings: str) -> None:
    """Have each SQLite connection begin its transactions by C{begin}, and by nothing that the driver thinks of."""

    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        # Text that is not UTF-8 is one row's trouble, for whoever reads it; not that of all rows read with it.
        connection.text_factory = lambda octets: octets.decode("utf-8", "surrogateescape")
        for setting in settings:
            connection.execute(f"PRAGMA {setting}")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
