"""The real programs that tests talk to, and what becomes of a test where one is missing.

A missing program skips the test with a reason; with C{MAILAGENT_REQUIRE_PEERS=1} in the environment, as in
continuous integration, it fails the test instead, so that nothing goes untested unnoticed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

#: Where C{.ci/run} puts what cannot be installed beside the rest.
PEERS = Path(__file__).resolve().parents[1] / ".peers"
#: Debian keeps the server of PostgreSQL out of the PATH: the newest first.
POSTGRESQL = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
#: Daemons live in sbin, which an ordinary user's PATH may lack.
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin", str(PEERS / "usr/sbin"), *POSTGRESQL]
)


def find(name: str) -> str | None:
    """The path of a program, or C{None}."""
    return shutil.which(name, path=SEARCH_PATH)


def path(name: str) -> str:
    """The path of a program that the test's C{requires} marker has asked for."""
    found = find(name)
    assert found is not None, f"ask for it: @pytest.mark.requires({name!r})"
    return found


def absent(what: str) -> NoReturn:
    """End the running test, which cannot do without C{what}."""
    if os.environ.get("MAILAGENT_REQUIRE_PEERS") == "1":
        pytest.fail(f"MAILAGENT_REQUIRE_PEERS is set, and there is no {what}", pytrace=False)
    pytest.skip(f"there is no {what}")
