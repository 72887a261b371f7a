"""The reference and the example: what they tell is what the schema has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from mailagent.config import Overrides, load
from mailagent.config.outbound import QueueSettings, RelaySettings, RouteSettings
from mailagent.config.reference import reference
from mailagent.config.schema import (
    AuthSettings,
    DirectorySettings,
    HostSettings,
    Limits,
    Listener,
    MailboxSettings,
    SubmissionSettings,
    WhitelistSettings,
    settings,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "etc" / "mailagent.toml"
CLASSES = [
    HostSettings,
    WhitelistSettings,
    MailboxSettings,
    Listener,
    Limits,
    DirectorySettings,
    AuthSettings,
    SubmissionSettings,
    QueueSettings,
    RelaySettings,
    RouteSettings,
]


def test_the_page_in_docs_is_what_the_schema_says() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == reference(), "run: python -m mailagent.config > docs/configuration.md"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_is_documented(cls: type[Any]) -> None:
    for field in settings(cls):
        assert field.metadata["doc"], field.name
        assert f"| `{field.name}` |" in reference()


def test_every_option_is_documented() -> None:
    for field in attrs.fields(Overrides):
        assert f"`{field.metadata['option']}`" in reference()


def test_defaults_are_told_as_they_would_be_written() -> None:
    page = reference()
    for default in ('`"25 MiB"`', '`"5 min"`', '`"30 s"`', "`100`", "`20`", '`"tcp:2525:interface=127.0.0.1"`'):
        assert default in page


def test_the_page_does_not_depend_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reference()
    monkeypatch.setattr("socket.getfqdn", lambda: "another.example")
    assert reference() == before


def test_the_example_is_a_configuration() -> None:
    made = load(str(EXAMPLE))
    assert made.whitelist.hosts == ("hostmeister.de", "hostgator.com")
    assert made.limits == Limits()


def test_the_example_with_all_its_settings_taken_in_is_a_configuration_that_names_every_setting(tmp_path: Path) -> None:
    text = re.sub(r"^#(?! |$)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    path = tmp_path / "mailagent.toml"
    path.write_text(text)
    load(str(path))
    for cls in CLASSES:
        for field in settings(cls):
            assert re.search(rf"^{field.name} = ", text, re.MULTILINE), field.name
