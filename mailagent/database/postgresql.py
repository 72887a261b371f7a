"""PostgreSQL, opened: what a connection is given so that no trouble of the server's can hang us for ever.

A server that is away is given up after C{CONNECT} seconds, a statement that takes too long is ended by the server, and
a server that says nothing more at all (frozen, or cut off) by L{Bounded}. What the URL says of these goes before; its
C{application_name} comes after ours, by which nodes know each other's connections.
Transactions are READ COMMITTED: each statement sees what is committed when it begins.

Importing this needs the driver; L{mailagent.database.engine} does so where the URL asks for it.
"""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import event

#: Seconds until a server that does not answer a connection is given up; of each address it has.
CONNECT = 10
#: Seconds that a statement may take, and that an answer may be waited for.
STATEMENT, ANSWER = 60, 75.0
#: Seconds that a writer may do nothing in the middle of a transaction, and that others wait for its locks. A node that
#: freezes keeps all others from the rows it has locked until the first is over, and half as long again where the others
#: have to end it (L{mailagent.database.hung}); the second is as long as that, so that they are seldom undone for its
#: sake. Both together are less than a lease (L{mailagent.queue.store_nodes.LEASE}), which the heartbeats, on a
#: connection of their own, do not even depend on.
IDLE, LOCK = 10, 15
#: Milliseconds; less than C{deadlock_timeout}, which is a second.
YIELD = 700
#: C{read_only_sql_transaction}.
_READ_ONLY = "25006"
#: What libpq is told; the TCP settings find a peer that has gone without a word within a minute.
_PARAMETERS: dict[str, Any] = {
    "application_name": "mailagent",  # by which L{mailagent.database.hung} knows them
    "client_encoding": "utf8",
    "connect_timeout": CONNECT,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
#: Of these, what the URL says is added to ours.
_ADDED = ("options", "application_name")
#: A C{250} is a promise that the message is on the disk, whatever the server has for its other clients. A writer that
#: hangs in the middle of a transaction must not keep its locks; a reader may take its time over what it finds. The TCP
#: settings are for the server's side: by itself it looks for a client that is gone without a word after two hours.
_OPTIONS = (
    f"-c statement_timeout={STATEMENT}s -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10"
    " -c tcp_keepalives_count=3 -c tcp_user_timeout=60000"
)
_WRITER = f"{_OPTIONS} -c synchronous_commit=on -c idle_in_transaction_session_timeout={IDLE}s -c lock_timeout={LOCK}s"


class Bounded(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than C{patience} seconds; it is closed then.

    C{statement_timeout} is kept by the server, and a frozen one keeps none.
    """

    patience: float | None = ANSWER

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """See C{psycopg.Connection.wait}."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError:
            if timeout is None and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
                raise psycopg.OperationalError(f"no answer within {self.patience} s") from None
            raise


def engine(url: sa.URL, writes: bool, **more: Any) -> sa.Engine:
    """Connections to a server, for a writer or for readers. None is made yet."""
    given = {**_PARAMETERS, "options": _WRITER if writes else _OPTIONS}
    for name in _ADDED:
        if name in url.query:
            given[name] += f" {url.query[name]}"
    arguments = {name: value for name, value in given.items() if name in _ADDED or name not in url.query}
    made = sa.create_engine(url, connect_args=arguments, **more)
    event.listen(made, "do_connect", lambda dialect, record, words, settings: Bounded.connect(*words, **settings))
    if writes:
        event.listen(made, "handle_error", _leave_standby)
    return made


def give_way(connection: sa.Connection) -> None:
    """Have this transaction wait for no table for longer than C{YIELD}: whoever comes after it waits as long, and two
    that wait for each other are told apart by the server only later, and then it may end the other one."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{YIELD}ms'")


def _leave_standby(context: sa.engine.ExceptionContext) -> None:
    """A server that may only be read has become a standby of another: what is connected to it looks for that one."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def take_time(connection: sa.Connection) -> None:
    """Let the statements of this transaction take as long as they do, and wait for locks as long; the connection is not
    used again after it."""
    for name in ("statement_timeout", "lock_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {name} = 0")
    connection.exec_driver_sql("SET LOCAL application_name = 'mailagent at length'")  # see mailagent.database.hung
    connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{STATEMENT}s'")
    driver = connection.connection.driver_connection
    assert isinstance(driver, Bounded)
    driver.patience = None
