"""What has to be installed before a database can be used."""

from __future__ import annotations

from importlib.util import find_spec

#: How the URL of a PostgreSQL begins.
POSTGRESQL = "postgresql+psycopg"


def missing_driver(url: str) -> str | None:
    """What to install for the database of this URL; C{None} if all is there."""
    if url.startswith(f"{POSTGRESQL}:") and find_spec("psycopg") is None:
        return "PostgreSQL needs its driver: pip install 'mailagent[postgres]'"
    return None
