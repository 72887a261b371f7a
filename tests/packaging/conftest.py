"""Clean environments: a copy of the tree, as a fresh clone would be, and virtual environments without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from tests.peers.server import LOOPBACK, ROOT, Server

#: Seconds for installing from the package index: a slow network is not a failure.
INSTALL_TIME = 300.0
#: What would show a process our checkout, our environment, or the `make test` or git hook that may be running us.
LEAKS = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"} | {
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "MAKEOVERRIDES",
    "PYTHON",
    "VENV",
    "ARGS",
}


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in LEAKS}


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """What a program that must end well has written."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_TIME,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@attrs.frozen
class Environment:
    """A virtual environment at C{path}."""

    path: Path

    def python(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run its Python."""
        return run([self.path / "bin" / "python", *arguments], cwd or self.path)

    def twistd(self, *arguments: str) -> list[str]:
        """The command for its twistd. The script is read, not run, for an environment that was copied keeps the
        original's path in its scripts' first lines."""
        return [str(self.path / "bin" / "python"), str(self.path / "bin" / "twistd"), *arguments]

    def copy(self, path: Path) -> Environment:
        shutil.copytree(self.path, path, symlinks=True)
        return Environment(path)


def copy_tree(destination: Path) -> Path:
    """What a clone of the checkout as it is now would hold."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in run(git, ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return destination


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh copy of the tree, in which building leaves what it likes."""
    return copy_tree(tmp_path / "clone")


@pytest.fixture(scope="session")
def with_dependencies(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with what C{pip install .} brings along, mailagent itself taken out again."""
    environment = Environment(tmp_path_factory.mktemp("environment") / "venv")
    run([sys.executable, "-m", "venv", environment.path], environment.path.parent)
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    environment.python("-m", "pip", "install", "--quiet", tree)
    environment.python("-m", "pip", "uninstall", "--quiet", "--yes", "mailagent")
    return environment


@pytest.fixture
def clean(with_dependencies: Environment, tmp_path: Path) -> Environment:
    """An environment of the test's own, with mailagent's dependencies and without mailagent."""
    return with_dependencies.copy(tmp_path / "venv")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory that has nothing to do with the checkout."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


class Servers:
    """Servers of installed mailagents, run in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Server] = []

    def start(self, environment: Environment) -> Server:
        options = ["-n", "--pidfile=", "mailagent", "--log-format", "json", "--listen", LOOPBACK]
        return self.run(environment.twistd(*options), self._directory)

    def run(self, command: Sequence[str], directory: Path) -> Server:
        self._started.append(Server(command, directory, clean_environment()))
        return self._started[-1]

    def end(self) -> None:
        for server in self._started:
            server.end()


@pytest.fixture
def servers(elsewhere: Path) -> Iterator[Servers]:
    made = Servers(elsewhere)
    yield made
    made.end()
