"""Which version of the checkout is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

#: How the name of a version ends that nobody else has.
DIRTY = "-dirty"


def commit(root: Path, apart_from: Sequence[Path] = ()) -> str:
    """The commit that is checked out at C{root}, with L{DIRTY} where tracked files differ from it.

    @param apart_from: files that may differ: what is written there is no part of what is measured.
    @return: empty where this is no checkout, or there is no git.
    """
    excluded = [f":(exclude){path.relative_to(root)}" for path in apart_from]
    try:
        name = _git(root, "describe", "--always").stdout.strip()
        differs = _git(root, "diff", "--quiet", "HEAD", "--", ".", *excluded).returncode == 1
    except FileNotFoundError:
        return ""
    return name + DIRTY * (bool(name) and differs)


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
