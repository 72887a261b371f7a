"""The database's own clock, by which several nodes can agree."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement


class database_now(ColumnElement[float]):  # noqa: N801 - a function, in SQL
    """The moment of the statement in seconds since the epoch, as an expression."""

    inherit_cache = True
    type = sa.Double()


@compiles(database_now, "sqlite")
def _on_sqlite(element: database_now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _on_postgresql(element: database_now, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"
