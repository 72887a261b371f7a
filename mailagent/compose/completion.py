"""Completing a recipient, out of those there was mail to before. Shown and completed as text, by address or by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from mailagent.compose.correspondent import Correspondent

_LAST = re.compile(r"[^;,]*\Z")


def written(who: Correspondent) -> str:
    """A recipient as it can be typed, its name quoted where that is more than words."""
    if not who.name or re.fullmatch(r"[^\x00-\x1f\"\\;,<>@()]+", who.name):
        return str(who)
    return str(who.address)


class RecipientCompleter(Completer):
    """Offers those of C{earlier} whose address, or a word of whose name, begins with what stands last in the list."""

    def __init__(self, earlier: Sequence[Correspondent]) -> None:
        self._earlier = earlier

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """See C{Completer}."""
        found = _LAST.search(document.text_before_cursor)
        typed = found[0].lstrip() if found else ""
        for who in self._earlier:
            words = (str(who.address), *who.name.split())
            if any(word.lower().startswith(typed.lower()) for word in words):
                yield Completion(written(who), start_position=-len(typed))
