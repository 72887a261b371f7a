"""What the documents show works, and where they point there is something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from mailagent import log
from tests.memory_server import Connection, codes, transaction

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_quick_starts_printer_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    block = re.search(r"```python\n(.+?)```", text, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(compile(block[1], "printer.tac", "exec"), names)
    session = names["Factory"]().buildProtocol(None)
    connection = Connection(session, StringTransport())
    session.makeConnection(connection.transport)
    connection.greet()
    got = connection.send(transaction("ann@example.org", "ann@elsewhere.example", content=b"S: x\r\n\r\nhi\r\n"))
    connection.lose()
    assert codes(got) == ["250 2.1.0", "250 2.1.5", "550 5.7.1", "354", "250 2.0.0"]
    assert capsys.readouterr().out == "S: x\n\nhi\n"


def test_the_quick_start_names_every_event() -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    events = [event.name for event in vars(log).values() if isinstance(event, log.Event)]
    assert [name for name in events if f"`{name}`" not in text] == []
