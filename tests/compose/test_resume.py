"""Reading kept drafts again."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.compose import resume
from mailagent.compose.attachment import Attachment
from mailagent.compose.correspondent import Correspondent, parse_correspondents
from mailagent.compose.draft import Draft
from mailagent.compose.resume import BadDraft, parse_draft, read_draft
from mailagent.envelope.address import Address

(EVE,) = parse_correspondents("Eve <eve@example.com>")
DRAFT = Draft(EVE, parse_correspondents("ann@example.org"), body="text\n")
LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
WORDS = st.text(LETTERS, max_size=40).map(lambda text: " ".join(text.split()))
NAMES = WORDS.filter(lambda name: not name.startswith("=?"))
LOCALS = st.from_regex(r"[a-z\xe4\xf6;, \"+]{1,9}", fullmatch=True)
ADDRESSES = st.builds(Address, LOCALS, st.sampled_from(["example.org", "xn--bcher-kva.example"]))
GROUPS = st.lists(st.builds(Correspondent, ADDRESSES, NAMES), max_size=3).map(tuple)
FILES = st.lists(st.builds(Attachment, st.just("\xfc.bin"), st.just("image/png"), st.binary(max_size=99)), max_size=2)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


def kept(draft: Draft) -> bytes:
    return b"".join(draft.for_keeping(1_800_014_400.0, "id"))


@given(GROUPS, GROUPS, GROUPS, GROUPS, WORDS, TEXTS, FILES.map(tuple))
def test_what_was_kept_is_what_comes_back(
    to: tuple[Correspondent, ...],
    cc: tuple[Correspondent, ...],
    bcc: tuple[Correspondent, ...],
    accepted: tuple[Correspondent, ...],
    subject: str,
    body: str,
    files: tuple[Attachment, ...],
) -> None:
    draft = Draft(EVE, to, cc, bcc, subject, body, files, accepted)
    again = attrs.asdict(parse_draft(kept(draft)), recurse=False)
    expected = attrs.asdict(draft, recurse=False)
    assert again.pop("body").rstrip("\n") == expected.pop("body").rstrip("\n")
    assert "".join(again.pop("subject").split()) == "".join(expected.pop("subject").split())
    for group in ("to", "cc", "bcc", "accepted"):
        assert [who.address for who in again[group]] == [who.address for who in expected[group]]
        names = [["".join(who.name.split()) for who in groups[group]] for groups in (again, expected)]
        assert names[0] == names[1]
    assert (again["sender"], again["attachments"]) == (EVE, files)


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "draft.eml").write_bytes(kept(DRAFT))
    assert read_draft(tmp_path / "draft.eml").body == "text\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe\0",
        b"To: ann@example.org\n\ntext\n",
        b"From: nonsense\n\ntext\n",
        b"From: eve@example.com\nTo: nonsense\n\ntext\n",
        b"From: eve@example.com\nContent-Type: image/png\n\ntext\n",
        b"From: eve@example.com\nContent-Type: text/plain; charset=klingon\n\n\xff\n",
    ],
)
def test_what_is_no_draft_is_told(octets: bytes) -> None:
    with pytest.raises(BadDraft, match=r"\w"):
        parse_draft(octets)


def test_a_file_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "MAX_DRAFT", 1000)
    with pytest.raises(BadDraft, match="more than 1000 octets"):
        read_draft(Path("/dev/zero"))


@given(st.binary() | st.binary().map(lambda octets: b"From: eve@example.com\nContent-Type: multipart/mixed\n" + octets))
def test_any_octets_are_a_draft_or_none(octets: bytes) -> None:
    with suppress(BadDraft):
        parse_draft(octets)
