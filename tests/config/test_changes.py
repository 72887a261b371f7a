"""What differs between two configurations, and when it counts."""

from __future__ import annotations

import attrs

from mailagent.config import Config
from mailagent.config.changes import LIVE, Changes, changes
from mailagent.config.schema import settings
from tests.config.test_structure import WHITELIST, config


def between(old: str, new: str) -> Changes:
    return changes(config(WHITELIST + old), config(WHITELIST + new))


def test_nothing_differs_from_itself() -> None:
    found = between("[limits]\nerrors = 3", "[limits]\nerrors = 3")
    assert (found.taken, found.waiting) == ((), ())


def test_each_setting_that_differs_is_named() -> None:
    found = changes(
        config(WHITELIST + '[hosts."a.example"]\nusers = ["ann"]\n[hosts."b.example"]\nusers = ["ann"]'),
        config(
            WHITELIST + 'aliases = { sales = "ann" }\n[hosts."b.example"]\nusers = ["bob"]\n'
            '[hosts."c.example"]\nusers = ["ann"]\n[limits]\nerrors = 3'
        ),
    )
    assert found.taken == (
        "whitelist.aliases.sales",
        'hosts."a.example"',
        'hosts."b.example".users',
        'hosts."c.example"',
        "limits.errors",
    )


def test_what_needs_a_restart_stays_as_it_was_until_then() -> None:
    old = config(WHITELIST + '[mailboxes]\npath = "one"')
    new = config('hostname = "new.example"\n' + WHITELIST + '[mailboxes]\npath = "two"\n[limits]\nerrors = 3')
    found = changes(attrs.evolve(old, hostname=config('hostname = "old.example"\n' + WHITELIST).hostname), new)
    assert found.taken == ("limits.errors",)
    assert found.waiting == ("hostname", "mailboxes.path")
    assert (found.config.hostname, found.config.mailboxes.path) == ("old.example", "one")
    assert found.config.limits.errors == 3


def test_what_can_be_taken_up_are_settings() -> None:
    assert {field.name for field in settings(Config)} >= LIVE


def test_how_users_log_in_waits_for_a_restart() -> None:
    found = between("", '[directory]\nusers = "users"\n[auth]\nfailures = 3\n[submission]\nown_addresses = false')
    assert found.taken == ()
    assert set(found.waiting) == {"directory.users", "auth.failures", "submission.own_addresses"}


def test_hosts_wait_with_their_source_for_a_restart() -> None:
    old = config(WHITELIST)
    found = changes(old, config('[directory]\nsource = "database"\n'))
    assert found.config.whitelist == old.whitelist
    assert "directory.source" in found.waiting
    assert not any(path.startswith("whitelist") for path in found.taken)
