"""Nodes, each a real server in a network namespace of its own, on one real PostgreSQL."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
import psycopg

from tests import programs
from tests.nodes.network import EVERYBODY, HUB, OUTSIDE, Member, network
from tests.nodes.sink import Sink
from tests.peers.outbound_site import LONG
from tests.peers.server import ROOT, TWISTD, Server, environment
from tests.postgres import Postgres

PORT = 2525
#: What keeps a test from taking minutes, as the short lease does: how long others wait for the locks of who is cut off.
_SHORT = "-c idle_in_transaction_session_timeout=3s"
_CONFIGURATION = """
hostname = "{name}.test"
whitelist = {{ hosts = ["here.test"], users = ["ann"] }}
relay = {{ networks = ["{everybody}"], connect_time = "5 s" }}
routes = {{ "*" = {{ to = "smtp:{outside}:{sink}" }} }}
limits = {{ sessions_per_network = 1000, stop_time = "10 s" }}
[queue]
url = "{url}"
deliveries = {deliveries}
lease = "4 s"
retry_first = "1 s"
retry_most = "2 s"
[[listen]]
endpoint = "tcp:{port}:interface={address}"
"""


@attrs.define
class Node:
    """One of them.

    @ivar server: the one that was started last.
    """

    member: Member
    home: Path
    servers: list[Server] = attrs.field(factory=list)

    @property
    def server(self) -> Server:
        return self.servers[-1]

    @property
    def address(self) -> str:
        return self.member.address

    @property
    def id(self) -> str:
        """By which the database knows it."""
        return (self.home / "state" / "node").read_text().strip()

    def start(self) -> None:
        """Begin to start it."""
        command = [str(TWISTD), "-n", "--pidfile=", "mailagent", "--log-format", "json"]
        with self.member.namespace.entered():
            self.servers.append(Server(command, self.home, environment(PYTHONPATH=str(ROOT))))

    def end(self) -> None:
        """Leave nothing behind."""
        for server in self.servers:
            server.end()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What all its servers have logged."""
        lines = (line for server in self.servers for line in tuple(server.lines) if f'"event": "{name}"' in line)
        return [json.loads(line) for line in lines]


@attrs.define
class Cluster:
    """See the module."""

    postgres: Postgres
    sink: Sink
    nodes: list[Node]
    _database: str

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """What the database says, asked where no cable is cut."""
        where = self.postgres.url(self._database).render_as_string().replace("+psycopg", "")
        with psycopg.connect(where, autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def wait_until(self, condition: str, *parameters: object) -> None:
        """Return when the database says that a condition holds."""
        deadline = f"extract(epoch FROM clock_timestamp()) + {LONG}"
        (end,) = self.rows(f"SELECT {deadline}")[0]
        while not self.rows(f"SELECT {condition}", *parameters)[0][0]:
            (left,) = self.rows("SELECT %s - extract(epoch FROM clock_timestamp()) FROM pg_sleep(0.05)", end)[0]
            assert left > 0, f"{condition} {parameters}"

    def leased(self, *nodes: Node) -> set[str]:
        """The recipients that nodes hold, as the database has it."""
        ids = [node.id for node in nodes]
        return {address for (address,) in self.rows("SELECT address FROM recipients WHERE lease_node = ANY(%s)", ids)}

    def wait_until_alive(self, node: Node, moment: float) -> None:
        """Return when a node has shown life after a moment of the database's clock."""
        self.wait_until("EXISTS (SELECT FROM nodes WHERE id = %s AND heartbeat > %s)", node.id, moment)

    def now(self) -> float:
        """The database's clock."""
        return float(self.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])


def _serving(directory: Path) -> Postgres:
    """A database server at the hub, for everybody on the network."""
    server = Postgres(directory, f"listen_addresses = '127.0.0.1, {HUB}'\n")
    with (server.data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {EVERYBODY} trust\n")
    server.start()
    return server


@contextmanager
def cluster(directory: Path, count: int, deliveries: int, pause: float) -> Iterator[Cluster]:
    """So many nodes, which have started; nothing of them stays.

    @param deliveries: how many messages a node may have on their way.
    @param pause: seconds that the sink takes for each.
    """
    with ExitStack() as stack:
        try:
            members = stack.enter_context(network(count))
        except OSError:
            programs.absent("right to make network namespaces")
        sink = Sink(OUTSIDE, pause)
        stack.callback(sink.end)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg")))
        postgres = _serving(home)
        stack.callback(postgres.stop)
        database = postgres.database()
        url = postgres.url(database, HUB, options=_SHORT).render_as_string()
        nodes = []
        for number, member in enumerate(members, 1):
            node = Node(member, directory / f"mx{number}")
            nodes.append(node)
            node.home.mkdir()
            (node.home / "mailagent.toml").write_text(
                _CONFIGURATION.format(
                    name=node.home.name,
                    everybody=EVERYBODY,
                    outside=OUTSIDE,
                    sink=sink.port,
                    url=url,
                    deliveries=deliveries,
                    port=PORT,
                    address=node.address,
                )
            )
            stack.callback(node.end)
            node.start()
        for node in nodes:
            node.server.wait_for("listening")
        yield Cluster(postgres, sink, nodes, database)
