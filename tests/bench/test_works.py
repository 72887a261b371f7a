"""What is wanted of a work, what generators send, and what the command line means."""

from __future__ import annotations

import pytest

from bench.__main__ import arguments
from bench.alone import decades, grown
from bench.load import content
from bench.servers import users
from bench.works import WORKS, aims

_BY_NAME = {work.name: work for work in WORKS}


def test_a_work_is_judged_by_the_ratio_to_postfix() -> None:
    rows = {
        "mailagent": {"messages/s": 900.0, "CPU, ms/message": 1.0, "p50, ms": 5.0},
        "Postfix": {"messages/s": 300.0, "CPU, ms/message": 2.5, "p50, ms": 5.0},
    }
    assert [(aim.got, aim.met) for aim in aims(_BY_NAME["new-connection"], rows)] == [(3.0, True), (0.4, True)]
    assert [(aim.got, aim.met) for aim in aims(_BY_NAME["latency"], rows)] == [(1.0, True)]


def test_without_postfix_nothing_is_judged() -> None:
    assert aims(_BY_NAME["relay"], {"mailagent": {}}) == []


def test_what_grows_is_judged_by_its_cheapest_line() -> None:
    rows = [{"ms": 9.0}, {"ms": 1.0}, {"ms": 2.0}]
    assert (grown("ms", rows, "ms").got, grown("ms", rows, "ms").met) == (2.0, False)


@pytest.mark.parametrize(("last", "found"), [(10, [10]), (1000, [10, 100, 1000]), (5000, [10, 100, 1000, 5000])])
def test_decades_end_with_the_last(last: int, found: list[int]) -> None:
    assert decades(10, last) == found


def test_recipients_are_named_as_smtp_source_names_them() -> None:
    assert users(1) == ["user"]
    assert users(3) == ["user", "2user", "3user"]


@pytest.mark.parametrize("size", [4096, 1_000_000])
def test_a_message_has_the_size_asked_for_and_ends(size: int) -> None:
    body = content(size).partition(b"\r\n\r\n")[2]
    assert len(body) == size + len(b".\r\n")
    assert content(size).endswith(b"\r\n.\r\n")


def test_works_and_peers_are_chosen_by_name() -> None:
    chosen = arguments(["--work", "relay,hostile", "--peers", "none"])
    assert (chosen.work, chosen.peers) == (["relay", "hostile"], [])
    with pytest.raises(SystemExit):
        arguments(["--work", "nothing"])
