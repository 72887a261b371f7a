"""Transactions whose client has gone silent in the middle: ended, as they keep everybody from what they have locked.

PostgreSQL itself ends one that is idle (C{idle_in_transaction_session_timeout}), but only between whole requests. While
some statements of many that are sent in one go have arrived, or while an answer cannot be sent, no clock of its runs:
the client of a machine that froze or was cut off just then would keep its locks for a quarter of an hour or longer.
"""

from __future__ import annotations

import sqlalchemy as sa

#: Seconds between looks for them, whatever a lease is: half of what one that is idle may take
#: (L{mailagent.database.postgresql.IDLE}), so that none lasts for much longer than others wait for its locks.
LOOK = 5.0
#: Ours, silent for as long as our own connection may be. One that has locked nothing has no C{backend_xid}.
_END = sa.text(
    """
    WITH hung AS MATERIALIZED (
        SELECT pid, coalesce(host(client_addr), 'local') AS address FROM pg_stat_activity
        WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
        AND split_part(application_name, ' ', 1) = 'mailagent' AND application_name <> 'mailagent at length'
        AND backend_xid IS NOT NULL AND wait_event_type = 'Client'
        AND greatest(query_start, state_change) < clock_timestamp()
            - nullif(current_setting('idle_in_transaction_session_timeout'), '0')::interval
    )
    SELECT address FROM hung WHERE pg_terminate_backend(pid)
    """
)


def end_hung(connection: sa.Connection) -> list[str]:
    """End those that nothing has been heard of for C{idle_in_transaction_session_timeout}; returns the addresses that
    they came from. Only for PostgreSQL."""
    return list(connection.scalars(_END))
