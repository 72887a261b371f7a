"""Relaying compared: messages submitted over many sessions, queued, and sent on to a sink, by mailagent and Postfix.

C{python -m bench.relay [--messages 3000] [--rounds 3] [--sessions 20] [--size 4096] [--directory DIR]}, in the
checkout; as root, for Postfix. C{smtp-source} submits, C{smtp-sink} takes what arrives; the servers take turns (A B A
B), each started once. A round's time runs from the first connection until the last message has arrived at the sink.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import attrs

from bench.processes import Sink, await_port, cpu_seconds
from tests import programs
from tests.peers.server import DEADLINE, TWISTD, Server, free_port

_WARM_UP = 200

_CONFIG = """
hostname = "bench.example"
[whitelist]
hosts = ["hostmeister.de"]
users = ["user1"]
[[listen]]
endpoint = "tcp:{own_port}:interface=127.0.0.1"
[relay]
networks = ["127.0.0.0/8"]
[routes]
"*" = {{ to = "smtp:127.0.0.1:{port}" }}
"""

#: Beside where things are: what makes Postfix fast, and nothing that makes it less safe.
_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = /dev/stdout
myhostname = bench.example
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{port}
{settings}
"""
_SETTINGS = """
in_flow_delay = 0
smtpd_forbid_bare_newline = yes
smtpd_peername_lookup = no
smtp_tls_security_level = none
"""
_MASTER_CF = """
127.0.0.1:{own_port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@attrs.frozen
class Contestant:
    """A server that runs.

    @ivar pid: the process above all of its others.
    @ivar port: where it takes mail.
    @ivar sink: where it sends it.
    """

    name: str
    pid: int
    port: int
    sink: Sink
    rates: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)

    def run(self, messages: int, options: argparse.Namespace) -> tuple[float, float]:
        """Relay so many messages; messages for each second, and the processor's seconds for each message."""
        expected = self.sink.count + messages
        used, begun = cpu_seconds(self.pid), time.perf_counter()
        submit(self.port, messages, options.sessions, options.size)
        self.sink.wait_for(expected)
        seconds = time.perf_counter() - begun
        return messages / seconds, (cpu_seconds(self.pid) - used) / messages


def submit(port: int, messages: int, sessions: int, size: int) -> None:
    """Have messages submitted."""
    command = [programs.path("smtp-source"), "-s", str(sessions), "-m", str(messages), "-l", str(size)]
    command += ["-f", "me@client.example", "-t", "you@elsewhere.example", f"127.0.0.1:{port}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def mailagent(home: Path, stack: ExitStack) -> Contestant:
    """Start ours. Its log goes to a file, as in service."""
    sink = Sink(home)
    stack.callback(sink.end)
    config, own_port = home / "mailagent.toml", free_port()
    config.write_text(_CONFIG.format(port=sink.port, own_port=own_port))
    command = [str(TWISTD), "-n", "--pidfile=", "--logfile=log", "mailagent", "--config", str(config)]
    server = Server(command, home)
    stack.callback(server.end)
    await_port(own_port)
    return Contestant("mailagent", server.pid, own_port, sink)


def postfix(home: Path, stack: ExitStack) -> Contestant:
    """Start the other.

    @raise SystemExit: the right to do so is root's alone.
    """
    if os.geteuid() != 0:
        raise SystemExit("only root can start Postfix (--only mailagent does without)")
    sink = Sink(home)
    stack.callback(sink.end)
    for name in ("etc", "queue", "data"):
        (home / name).mkdir()
    for directory in (home.parent, home):
        directory.chmod(0o755)
    shutil.chown(home / "data", "postfix")
    own_port = free_port()
    (home / "etc/main.cf").write_text(_MAIN_CF.format(home=home, port=sink.port, settings=_SETTINGS))
    (home / "etc/master.cf").write_text(_MASTER_CF.format(own_port=own_port))
    command = [programs.path("postfix"), "-c", str(home / "etc")]
    process = Server([*command, "start-fg"], home)
    stack.callback(process.end)
    stack.callback(subprocess.run, [*command, "abort"], capture_output=True, timeout=DEADLINE, check=False)
    process.wait_for_output("daemon started")
    return Contestant("Postfix", process.pid, own_port, sink)


_STARTS = {"mailagent": mailagent, "postfix": postfix}


def compare(directory: Path, options: argparse.Namespace) -> None:
    """Have them take turns, and print what came of it."""
    with ExitStack() as stack:
        contestants = []
        for name in options.only:
            home = directory / name
            home.mkdir()
            contestants.append(_STARTS[name](home, stack))
        for contestant in contestants:
            contestant.run(_WARM_UP, options)
        for number in range(options.rounds):
            for contestant in contestants:
                rate, cpu = contestant.run(options.messages, options)
                contestant.rates.append(rate)
                contestant.cpu.append(cpu)
                print(
                    f"{number + 1}: {contestant.name} {rate:.0f} messages/s, {cpu * 1000:.2f} ms CPU each", flush=True
                )
    print("\n| server | messages/s | CPU for each |\n|---|---|---|")
    for contestant in contestants:
        print(f"| {contestant.name} | {median(contestant.rates):.0f} | {median(contestant.cpu) * 1000:.2f} ms |")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--size", type=int, default=4096, help="octets of each message")
    parser.add_argument("--only", nargs="+", choices=_STARTS, default=list(_STARTS))
    parser.add_argument("--directory", help="where the queues are made; else where temporary files are")
    options = parser.parse_args()
    if "postfix" in options.only:
        print("Postfix with:" + _SETTINGS)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        compare(Path(directory), options)


if __name__ == "__main__":
    main()
