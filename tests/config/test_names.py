"""Names led through a table of any aliases: bounded, and without a circle once the check is content."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.config.names import MOST_TARGETS, BadAlias, LocalUser, Names, address_of_target
from mailagent.config.schema import Config
from mailagent.config.structure import build
from mailagent.envelope.address import Address
from mailagent.envelope.forward import Forward

targets = st.sampled_from(["ann", "bob", "x@example.org", "y@example.org", "z@example.org", "x@elsewhere.example"])
tables = st.dictionaries(st.sampled_from("xyz"), st.lists(targets, min_size=1, max_size=4))


def built(aliases: Mapping[str, list[str]], catch_all: str | None) -> tuple[Config, set[str]]:
    """The configuration with these aliases, and the settings that are wrong in it."""
    table: dict[str, object] = {"hosts": ["example.org"], "users": ["ann", "bob"], "aliases": aliases}
    config, problems = build({"whitelist": table | ({"catch_all": catch_all} if catch_all else {})})
    return config, {str(problem.path[-1]) for problem in problems}


@given(tables, st.none() | targets)
def test_what_the_check_lets_through_leads_somewhere_and_what_it_refuses_does_not(
    aliases: Mapping[str, list[str]], catch_all: str | None
) -> None:
    config, wrong = built(aliases, catch_all)
    names = Names.of(config)
    for alias in aliases:
        if alias in wrong:
            with pytest.raises(BadAlias):
                names.lead(alias, "example.org")
        else:
            ends = names.lead(alias, "example.org")
            assert 0 < len(ends) <= MOST_TARGETS
            assert len(set(ends)) == len(ends)
            assert all(isinstance(end, LocalUser | Forward) for end in ends)


def test_a_target_with_an_at_is_an_address() -> None:
    assert address_of_target("a@b.example") == Address("a", "b.example")
    assert address_of_target("ann") is None
