"""What is told of a header, however it comes in."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mailagent.reception.header_scan import HeaderScan


def scanned(content: bytes, cuts: list[int] | None = None) -> HeaderScan:
    scan = HeaderScan(frozenset({b"date"}))
    borders = [0, *sorted(cuts or []), len(content)]
    for start, stop in pairwise(borders):
        scan.feed(content[start:stop])
    return scan


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)), st.booleans())
def test_cuts_change_nothing(content: bytes, cuts: list[int], opened: bool) -> None:
    content = (b"Delivered-To: a@b\n" if opened else b"") + content
    whole, cut = scanned(content), scanned(content, cuts)
    assert (whole.present, whole.delivered_to, whole.ascii) == (cut.present, cut.delivered_to, cut.ascii)


def test_where_it_was_delivered_is_told_in_lower_case() -> None:
    content = b"DELIVERED-TO : A@b \nDelivered-To:c@D\n\nDelivered-To: body@b\n"
    assert scanned(content).delivered_to == {"a@b", "c@d"}


def test_an_octet_above_127_counts_in_the_header_alone() -> None:
    assert scanned(b"A: b\n\n\xff\n").ascii
    assert not scanned(b"A: b\n \xff\n\n").ascii
    assert not scanned(b"A: " + b"x" * 2000 + b"\xff\n\n").ascii


def test_memory_is_bounded() -> None:
    scan = scanned(b"".join(b"Delivered-To: %d@b\n" % number for number in range(5000)))
    assert len(scan.delivered_to) == 1000
