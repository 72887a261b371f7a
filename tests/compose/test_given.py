"""What is settled before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import attrs

from mailagent.compose.attachment import Attachment
from mailagent.compose.correspondent import parse_correspondent, parse_correspondents
from mailagent.compose.given import Given
from mailagent.compose.resume import Kept

ME = parse_correspondent("me@example.com")
ANN, BOB, CAT, EVE = (parse_correspondents(f"{name}@example.org") for name in ("ann", "bob", "cat", "eve"))
ONE, TWO = (Attachment(name, "text/plain", b"") for name in ("one", "two"))
KEPT = Kept(ME, ANN, BOB, CAT, ANN, "Hello", "text\n", (ONE,))
PATH = Path("draft.eml")


def test_what_is_not_said_is_what_the_draft_says() -> None:
    assert Given().resuming(KEPT, PATH) == Given(ME, ANN, BOB, CAT, "Hello", "text\n", (ONE,), ANN, PATH)


def test_what_is_said_goes_before_the_draft_but_attachments_are_joined() -> None:
    said = Given(EVE[0], EVE, EVE, EVE, "", attachments=(TWO,))
    assert said.resuming(KEPT, PATH) == Given(EVE[0], EVE, EVE, EVE, "", "text\n", (ONE, TWO), ANN, PATH)


def test_a_draft_without_a_text_leaves_it_open() -> None:
    assert Given().resuming(attrs.evolve(KEPT, body=""), PATH).body is None
