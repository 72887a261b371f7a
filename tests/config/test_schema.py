"""The name we have when none is configured."""

from __future__ import annotations

import pytest

from mailagent.config.schema import Config, machine_name


@pytest.mark.parametrize(
    ("qualified", "plain", "name"),
    [
        ("mx.example.org", "mx", "mx.example.org"),
        ("localhost", "mx", "mx"),
        ("localhost.localdomain", "mx", "mx"),
        ("my_host.example", "mx", "mx"),
        ("my_host", "my_host", "localhost"),
        ("localhost", "my_host", "localhost"),
    ],
)
def test_the_name_is_the_machines_qualified_one_else_its_plain_one(
    qualified: str, plain: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: qualified)
    monkeypatch.setattr("socket.gethostname", lambda: plain)
    assert machine_name() == name
    assert Config().hostname == name
