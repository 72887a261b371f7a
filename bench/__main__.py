"""C{python -m bench}, in the checkout: mailagent and other servers at the same work, and a table of what came of it.

C{--work} and C{--peers} choose (all, in the order given); C{--keep} appends the results to bench/history.jsonl and
writes them into docs/benchmarks.md. Postfix and Exim need root; what is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import alone, hostile
from bench.checkout import DIRTY, commit
from bench.figures import Result
from bench.peers import SERVERS
from bench.report import keep, origin, section
from bench.servers import Running, start
from bench.works import WORKS, compare
from mailagent import __version__
from tests.peers.server import ROOT

HISTORY = ROOT / "bench/history.jsonl"
PAGE = ROOT / "docs/benchmarks.md"

_COMPARED = {work.name: work for work in WORKS}
#: Works of mailagent alone; each starts the servers it needs.
_ALONE: dict[str, Callable[[argparse.Namespace, Path], Result]] = {**alone.WORKS, "hostile": hostile.measure}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure mailagent beside other servers.")
    everything = [*_COMPARED, *_ALONE]
    parser.add_argument("--work", metavar="NAME,...", default=",".join(everything), help="%(default)s")
    parser.add_argument("--peers", metavar="NAME,...", default="postfix,exim,aiosmtpd", help="%(default)s; or none")
    parser.add_argument("--rounds", type=int, default=3, help="of each work (%(default)s)")
    parser.add_argument("--messages", type=int, help="in each round, instead of the work's own number")
    parser.add_argument("--most", type=int, default=10_000, help="idle, queued, in a mailbox: at most (%(default)s)")
    parser.add_argument(
        "--setting", action="append", default=[], help="a line for the top of mailagent's configuration"
    )
    parser.add_argument("--directory", help="where mail is kept; else where temporary files are")
    parser.add_argument("--keep", action="store_true", help="keep the results, in the history and the documentation")
    options = parser.parse_args(words)
    options.work = _names(parser, options.work, everything)
    options.peers = _names(parser, options.peers, [*SERVERS, "none"])
    if options.keep and commit(ROOT, (HISTORY, PAGE)).endswith(DIRTY):
        parser.error("--keep: there are changes that are not committed, and nobody could repeat this")
    return options


def _names(parser: argparse.ArgumentParser, said: str, known: Sequence[str]) -> list[str]:
    names = [name for name in said.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return [name for name in names if name != "none"]


def circumstances(options: argparse.Namespace, words: str) -> dict[str, Any]:
    """When and where this is measured, with which versions."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB, Linux {platform.release()}",
        "versions": {
            "mailagent": f"{__version__} ({commit(ROOT, (HISTORY, PAGE)) or 'no git'})",
            "Python": platform.python_version(),
            "Twisted": version("twisted"),
        },
        "arguments": words,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def publish(servers: Sequence[Running]) -> None:
    """Say what each server was configured with."""
    for server in servers:
        if server.settings:
            print(f"--- {server.name} {server.version} with:\n{server.settings}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and tell."""
    options = arguments(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # and with it the servers
    where = circumstances(options, " ".join(words if words is not None else sys.argv[1:]).replace(" --keep", ""))
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="bench") as directory, ExitStack() as stack:
        root = Path(directory)
        compared = [name for name in options.work if name in _COMPARED]
        servers = []
        if compared:
            names = ["mailagent", *(name for name in options.peers if name != "mailagent")]
            servers = start(names, SERVERS, root, stack, "\n".join(options.setting))
            publish(servers)
        runs = [partial(compare, _COMPARED[name], servers, options, root) for name in compared]
        runs += [partial(_ALONE[name], options, root) for name in options.work if name in _ALONE]
        for run in runs:
            result = run()
            print("\n" + section(result, {}), flush=True)
            if options.keep:
                keep(result, where, HISTORY, PAGE)
    print(origin(where))


if __name__ == "__main__":
    main()
