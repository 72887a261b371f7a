"""C{mailagent host}, C{alias} and C{user} with the directory in the database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailagent.cli.main import main
from tests.database.support import Database


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mailagent.toml"
    path.write_text('state = "."\n[directory]\nsource = "database"\n')
    with Database(tmp_path):
        return path


def run(config: Path, words: str, text: str = "") -> Result:
    return CliRunner().invoke(main, [*words.split(), "--config", str(config)], input=text)


def done(config: Path, *lines: str) -> None:
    for words in lines:
        result = run(config, words, "secret\n")
        assert result.exit_code == 0, result.stderr


def test_what_is_added_is_listed_and_what_is_removed_is_not(config: Path) -> None:
    done(
        config,
        "host add example.org",
        "host add one.example --shared",
        "user add ann@example.org --address i@b.example",
    )
    done(config, "user add bob --no-login", "alias add sales@example.org ann", "alias add @example.org ann")
    assert run(config, "user list").stdout == "ann@example.org\tscram\ti@b.example\nbob\tno login\n"
    assert json.loads(run(config, "host list --json").stdout)[1] == {"name": "one.example", "shared": True}
    assert run(config, "alias list").stdout == "@example.org\tann\nsales@example.org\tann\n"
    done(config, "alias remove sales@example.org", "alias remove @example.org ann", "user passwd bob")
    done(config, "user del ann@example.org", "user remove bob", "host remove example.org")
    assert run(config, "alias list --json").stdout == run(config, "user list --json").stdout == "[]\n"


def test_what_is_empty_says_how_to_begin_to_people_and_nothing_to_programs(config: Path) -> None:
    for what, how in (("host", "host add NAME"), ("user", "user add NAME"), ("alias", "alias add NAME TARGET")):
        listed = run(config, f"{what} list")
        assert (listed.exit_code, listed.stdout) == (0, "")
        assert listed.stderr.endswith(f"yet: mailagent {how}\n")
        assert run(config, f"{what} list --json").stderr == ""


def test_who_is_removed_is_told_to_have_lost_the_mailbox_too(config: Path) -> None:
    done(config, "host add example.org", "user add ann@example.org --no-login")
    said = run(config, "user del ann@example.org").stderr
    assert said == "ann@example.org has no mailbox and no login any more; what is in the mailbox stays there\n"


def test_a_user_to_whom_aliases_lead_cannot_be_removed_and_it_is_said_what_to_do(config: Path) -> None:
    done(config, "host add example.org", "user add ann@example.org --no-login", "alias add sales@example.org Ann")
    said = run(config, "user del ann@example.org").stderr
    assert said.endswith("remove them first: mailagent alias remove sales@example.org Ann\n")
    done(config, *(f"alias add a{number}@example.org ann" for number in range(6)))
    assert run(config, "user del ann@example.org").stderr.endswith(
        "mailagent alias remove a3@example.org ann and 2 more\n"
    )
    done(config, "alias remove sales@example.org", *(f"alias remove a{number}@example.org" for number in range(6)))
    done(config, "user del ann@example.org")


def test_a_first_password_is_not_called_another_one(config: Path) -> None:
    done(config, "user add bob --no-login")
    assert run(config, "user passwd bob", "secret\n").stderr == "bob logs in by the new password from now on\n"


def test_it_is_said_what_it_means_that_no_host_is_there(config: Path) -> None:
    assert "until there is one" in run(config, "user add bob --no-login").stderr
    assert "until there is one" in run(config, "user add ann", "secret\n").stderr
    done(config, "host add one.example", "host add two.example --shared")
    assert "until there is one" not in run(config, "user add carl --no-login").stderr
    assert "until there is one" not in run(config, "host remove one.example").stderr
    done(config, "host add one.example", "user del ann", "user del bob", "user del carl", "host remove two.example")
    assert "until there is one" in run(config, "host remove one.example").stderr


def test_a_host_that_cannot_be_removed_tells_how_many_names_it_has(config: Path) -> None:
    done(config, "host add example.org", "user add ann@example.org", "user add bob@example.org")
    assert "example.org has 2 users, remove them first" in run(config, "host remove example.org").stderr
    done(config, "alias add sales@example.org ann", "user add carl", "user remove bob@example.org")
    assert "example.org has 1 user, remove it first" in run(config, "host remove example.org").stderr


@pytest.mark.parametrize(
    "words",
    ["user add ann@example.org", "user passwd bob", "user del bob", "host remove example.org", "alias add a ann"],
)
def test_what_cannot_be_done_is_said_in_a_line(config: Path, words: str) -> None:
    result = run(config, words, "secret\n")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_with_the_file_as_source_it_is_said_where_to_edit(config: Path) -> None:
    config.write_text('[whitelist]\nhosts = ["example.org"]\nusers = ["ann"]\n')
    for words in ("host add a.example", "alias list"):
        result = run(config, words)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert f"edit [whitelist] or [hosts] in {config}" in result.stderr
    assert run(config, "user add ann --no-login --users users").exit_code == 2
