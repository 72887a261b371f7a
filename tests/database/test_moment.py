"""The database's own clock."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from mailagent.database.moment import database_now
from tests.database.support import Database


def test_it_counts_seconds_since_the_epoch(tmp_path: Path) -> None:
    with Database(tmp_path) as database, database.reading.begin() as connection:
        ours = connection.scalar(sa.select(database_now()))
        theirs = connection.exec_driver_sql("SELECT CAST(strftime('%s', 'now') AS INT)").scalar()
    assert ours is not None
    assert abs(ours - float(str(theirs))) < 600


def test_postgresql_has_it_too() -> None:
    text = str(sa.select(database_now()).compile(dialect=postgresql.dialect()))
    assert "extract(epoch from clock_timestamp())" in text
