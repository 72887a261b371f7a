"""The floors of DESIGN: an import goes strictly downward or stays in its room, and never in a circle.

The rules read sources (C{ast}), so an import inside a function or for a type checker counts like any other: what it
names is what the module knows about.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import attrs
import pytest

FLOORS = (
    {"envelope", "log_sinks", "log_stream"},
    {"budget", "config", "interfaces", "log", "metrics", "state", "threads"},
    {"smtp", "maildir", "directory", "dns", "database"},
    {"reception", "queue", "relay", "policy", "compose", "sendmail", "certificates", "stored_directory"},
    {"parts"},
    {"workers", "web", "service", "welcome", "reload", "outbound", "local_door", "options"},
    {"tap", "clienttap", "cli"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: What acts, waits, or differs from one moment to the next: not for pure values.
IMPURE = (
    {"io", "os", "pathlib", "shutil", "sqlite3", "sys", "tempfile", "logging"}
    | {"asyncio", "select", "signal", "socket", "ssl", "subprocess", "threading", "twisted"}
    | {"random", "secrets", "time", "uuid"}
)
PACKAGE = Path(__file__).resolve().parents[1] / "mailagent"

#: Module names and their sources.
Sources = Mapping[str, str]


@attrs.frozen
class Import:
    """That the module C{importer} imports C{imported}, a module wherever there is one of that name among ours."""

    importer: str
    imported: str


def room(module: str) -> str:
    """The room a module of ours is in; the package itself is none."""
    return module.split(".")[1] if "." in module else ""


def ours(module: str) -> bool:
    return module.split(".")[0] == "mailagent"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(sources: Sources) -> Iterator[Import]:
    """Every import in every source, absolute. What a C{from} takes is named where it is a module of ours."""
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                yield from (Import(module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import, which these rules cannot read"
                assert node.module is not None
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield Import(module, full if full in sources or node.module == "mailagent" else node.module)


def upward(sources: Sources) -> list[str]:
    """Imports that go to a floor above, or to another room on the same one."""
    found = []
    for each in imports(sources):
        here, there = room(each.importer), room(each.imported)
        if ours(each.imported) and here != there and FLOOR.get(there, -1) >= FLOOR.get(here, len(FLOORS)):
            found.append(f"{each.importer} (floor {FLOOR[here]}) imports {each.imported} (floor {FLOOR[there]})")
    return found


def unplaced(sources: Sources) -> list[str]:
    """Rooms that no floor lists."""
    return sorted({room(module) for module in sources} - set(FLOOR) - {""})


def circles(sources: Sources) -> list[str]:
    """One circle of imports, if there is any."""
    graph: dict[str, set[str]] = defaultdict(set)
    for each in imports(sources):
        if each.imported in sources and each.imported != each.importer:
            graph[each.importer].add(each.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def impure(sources: Sources) -> list[str]:
    """Imports by the vocabulary of values of what acts, waits or changes."""
    return [
        f"{each.importer} imports {each.imported}"
        for each in imports(sources)
        if room(each.importer) == "envelope" and each.imported.split(".")[0] in IMPURE
    ]


def global_reactors(sources: Sources) -> list[str]:
    """Modules that import the reactor as they are loaded, which chooses it for everybody."""
    return [
        module
        for module, source in sources.items()
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet"
        if any(alias.name == "reactor" for alias in node.names)
    ]


@pytest.fixture(scope="module")
def sources() -> Sources:
    return {module_name(path): path.read_text() for path in PACKAGE.rglob("*.py")}


def test_every_room_has_a_floor(sources: Sources) -> None:
    assert unplaced(sources) == []


def test_imports_go_downward_or_stay_in_their_room(sources: Sources) -> None:
    assert upward(sources) == []


def test_no_imports_go_in_a_circle(sources: Sources) -> None:
    assert circles(sources) == []


def test_the_vocabulary_is_pure(sources: Sources) -> None:
    assert impure(sources) == []


def test_no_module_imports_the_reactor_when_it_is_loaded(sources: Sources) -> None:
    assert global_reactors(sources) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mailagent.smtp.session", "from mailagent.reception.transaction import Transaction"),
        ("mailagent.smtp.session", "from mailagent.directory.whitelist import Whitelist"),
        ("mailagent.smtp.session", "from mailagent import tap"),
        ("mailagent.log", "import mailagent.interfaces"),
        ("mailagent.envelope.reply", "def later():\n    import mailagent.log"),
    ],
)
def test_an_import_upward_or_sideways_is_found(module: str, source: str) -> None:
    assert len(upward({module: source})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mailagent.smtp.session", "from mailagent.smtp.verbs import Verb\nfrom mailagent.envelope.reply import Reply"),
        ("mailagent.tap", "from mailagent import __version__\nimport twisted.internet.endpoints"),
    ],
)
def test_an_import_downward_or_in_the_room_is_fine(module: str, source: str) -> None:
    assert upward({module: source}) == []


def test_a_circle_is_found() -> None:
    first, second = "mailagent.smtp.first", "mailagent.smtp.second"
    sources = {first: "from mailagent.smtp import second", second: "from mailagent.smtp.first import A"}
    assert len(circles(sources)) == 1


def test_a_room_without_a_floor_is_found() -> None:
    assert unplaced({"mailagent": "", "mailagent.attic.box": ""}) == ["attic"]


def test_an_impure_value_is_found() -> None:
    assert impure({"mailagent.envelope.reply": "import os.path\nfrom twisted.internet import defer\nimport re"}) == [
        "mailagent.envelope.reply imports os.path",
        "mailagent.envelope.reply imports twisted.internet",
    ]


def test_a_reactor_chosen_by_an_import_is_found() -> None:
    fine = "def make():\n    from twisted.internet import reactor"
    sources = {"mailagent.a": "from twisted.internet import defer, reactor", "mailagent.b": fine}
    assert global_reactors(sources) == ["mailagent.a"]
