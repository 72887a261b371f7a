"""How a setting's meaning stands in the schema: in its attrs metadata, so that it reaches the operator."""

from __future__ import annotations


def doc(meaning: str, *, shown: str | None = None) -> dict[str, str | None]:
    """Metadata for a setting.

    @param meaning: what it does, in Markdown.
    @param shown: stands for a default that only the running machine can tell.
    """
    return {"doc": meaning, "shown": shown}
