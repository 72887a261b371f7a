"""The version that is measured; and that results of one that nobody else has are not kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.checkout import commit

pytestmark = pytest.mark.requires("git")


def git(root: Path, *words: str) -> str:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]
    ran = subprocess.run(["git", *settings, *words], cwd=root, check=True, capture_output=True, text=True)
    return ran.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("code", "results"):
        (tmp_path / name).write_text("before")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_version_is_its_commit(root: Path) -> None:
    assert commit(root) == git(root, "rev-parse", "--short", "HEAD")


def test_changed_code_makes_a_version_that_nobody_else_has_and_kept_results_do_not(root: Path) -> None:
    results = root / "results"
    results.write_text("after")
    assert not commit(root, [results]).endswith("-dirty")
    assert commit(root).endswith("-dirty")
    (root / "code").write_text("after")
    assert commit(root, [results]).endswith("-dirty")


def test_what_is_no_checkout_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit(tmp_path) == ""
    monkeypatch.setenv("PATH", "")
    assert commit(tmp_path) == ""


def test_results_of_a_version_that_nobody_else_has_are_not_kept(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, path in (("ROOT", root), ("HISTORY", root / "results"), ("PAGE", root / "results")):
        monkeypatch.setattr(bench, name, path)
    keep = ["--keep", "--work", "idle"]
    assert bench.arguments(keep).keep
    (root / "code").write_text("after")
    with pytest.raises(SystemExit):
        bench.arguments(keep)
    assert "not committed" in capsys.readouterr().err
    assert not bench.arguments(keep[1:]).keep
