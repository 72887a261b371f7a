"""The event vocabulary, and how events are written."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent

from mailagent import log
from mailagent.envelope.address import Address
from mailagent.envelope.printable import printable


def logger(seen: list[LogEvent]) -> Logger:
    return Logger(observer=cast(ILogObserver, seen.append))


def emit(event: log.Event, **facts: object) -> LogEvent:
    """The event as an observer gets it."""
    seen: list[LogEvent] = []
    event(logger(seen), **facts)
    [recorded] = seen
    return recorded


def text(event: LogEvent) -> str:
    line = log.format_text(event)
    assert line is not None
    return line


def as_json(event: LogEvent) -> dict[str, Any]:
    line = log.format_json(event)
    assert line is not None
    assert line.count("\n") == 1
    decoded: dict[str, Any] = json.loads(line)
    return decoded


ACCEPTED = {"id": "0id", "recipient": "ann@example.org", "sender": "bob@example.net"}


def test_an_event_is_one_readable_line_with_its_time() -> None:
    line = text(emit(log.RECIPIENT_ACCEPTED, **ACCEPTED))
    time, _, message = line.partition(" ")
    assert len(time) == len("2026-11-02T12:00:00.000+00:00")
    assert message == "0id recipient <ann@example.org> accepted from <bob@example.net>\n"


def test_an_event_is_one_line_of_json_with_its_name_level_and_facts() -> None:
    line = as_json(emit(log.RECIPIENT_ACCEPTED, **ACCEPTED))
    assert line["event"] == "recipient_accepted"
    assert line["level"] == "info"
    assert {key: line[key] for key in ACCEPTED} == ACCEPTED
    assert line["message"] == "0id recipient <ann@example.org> accepted from <bob@example.net>"


def test_numbers_stay_numbers_in_json() -> None:
    line = as_json(emit(log.MESSAGE_STORED, id="0id", sender="", recipients=[], size=4096, seconds=0.25))
    assert (line["size"], line["seconds"]) == (4096, 0.25)


def test_several_recipients_are_a_list_in_json_and_a_row_in_text() -> None:
    recipients = [Address("ann", "example.org"), "bob\n@example.org"]
    event = emit(log.MESSAGE_STORED, id="0id", sender="", recipients=recipients, size=1, seconds=0.0)
    assert as_json(event)["recipients"] == ["ann@example.org", "bob\\n@example.org"]
    assert "for ann@example.org, bob\\n@example.org, 1 octets" in text(event)


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eevil", "\\u202eevil"),
        ("a\u2028b", "a\\u2028b"),
        ("\udcff", "\\udcff"),
        ("müller", "müller"),
    ],
)
def test_peers_strings_are_escaped_where_they_could_move_a_cursor_or_end_a_line(sent: str, written: str) -> None:
    assert f" {written}: 500" in text(emit(log.COMMAND_REFUSED, peer="p", command=sent, reply="500"))


def test_a_fact_that_is_no_string_is_escaped_like_one() -> None:
    assert '<"a\\nb"@c>' in text(emit(log.RECIPIENT_ACCEPTED, id="0id", recipient=Address("a\nb", "c"), sender=""))


def test_a_fact_of_any_length_is_cut_and_says_so() -> None:
    for length, shown in ((512, "x" * 512), (10_000, "x" * 511 + "…")):
        assert text(emit(log.NOTICE, text="x" * length)).endswith(f" {shown}\n")


@given(st.text())
def test_what_is_printable_is_one_line_that_any_encoding_of_unicode_takes(sent: str) -> None:
    escaped = printable(sent)
    assert escaped.isprintable()
    assert len((escaped + "x").splitlines()) == 1
    escaped.encode("utf-8")


@given(st.text())
def test_braces_in_facts_are_only_braces(sent: str) -> None:
    assert printable("{" + sent + "}") in text(emit(log.NOTICE, text="{" + sent + "}"))


def test_a_failure_is_written_with_its_traceback() -> None:
    seen: list[LogEvent] = []
    try:
        raise ValueError("no such thing")
    except ValueError:
        logger(seen).failure("while testing")
    assert "while testing\nTraceback" in text(seen[0])
    assert "no such thing" in as_json(seen[0])["traceback"]


def test_twisteds_own_events_are_written_as_log() -> None:
    seen: list[LogEvent] = []
    logger(seen).warn("Starting {what}", what="it")
    assert text(seen[0]).endswith(" Starting it\n")
    line = as_json(seen[0])
    assert (line["event"], line["level"], line["message"]) == ("log", "warn", "Starting it")
    assert "what" not in line


def test_an_event_without_a_message_is_not_written() -> None:
    event: LogEvent = {"log_format": "", "log_time": 0.0}
    assert log.format_text(event) is None
    assert log.format_json(event) is None


@pytest.mark.parametrize("form", log.FORMATS)
def test_events_are_appended_to_the_log_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_text("before\n")
    log.NOTICE(Logger(observer=log.observer(form, str(path))), text="müller")
    before, line = path.read_text().splitlines()
    assert before == "before"
    assert ("müller" in line) if form == "text" else (json.loads(line)["text"] == "müller")


def test_events_go_to_standard_output_where_told(capsys: pytest.CaptureFixture[str]) -> None:
    log.NOTICE(Logger(observer=log.observer("text", "-")), text="hello")
    assert capsys.readouterr().out.endswith(" hello\n")


def test_lines_of_another_process_go_into_the_log_as_they_are(tmp_path: Path) -> None:
    output = log.observer("json", str(tmp_path / "log"))
    output.write('{"event": "x"}\n{"event": "y"}\n')
    assert (tmp_path / "log").read_text() == '{"event": "x"}\n{"event": "y"}\n'
    assert output.log_format == "json"


def test_an_observer_that_takes_events_has_those_of_another_process_too() -> None:
    got: list[LogEvent] = []
    line = {"time": "now", "level": "error", "event": "error", "message": "100 {%} bad", "what": "it", "worker": 2}
    log.tell_again(json.dumps(line) + "\n", Logger(observer=cast(ILogObserver, got.append)))
    assert (got[0]["event"], got[0]["worker"], got[0]["log_level"].name) == ("error", 2, "error")
    assert formatEvent(got[0]) == "100 {%} bad"


@pytest.mark.parametrize(
    "line",
    ['{"time": "now", "lev', "[1]", '"x"', '{"event": "x"}', '{"level": "loud"}', '{"level": "info", "format": ""}'],
)
def test_a_line_of_another_process_that_cannot_be_read_is_told_as_it_is(line: str) -> None:
    got: list[LogEvent] = []
    log.tell_again(line + '\n{"level": "info", "event": "x", "message": "good"}\n', logger(got))
    assert [(event["event"], formatEvent(event)) for event in got] == [("notice", line), ("x", "good")]


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_are_local_to_the_millisecond(microseconds: int) -> None:
    moment = microseconds / 1_000_000  # what lies between two may be rounded either way
    expected = datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="milliseconds")
    assert text({"log_format": "x", "log_time": moment}) == f"{expected} x\n"


@pytest.mark.parametrize("event", [value for value in vars(log).values() if isinstance(value, log.Event)])
def test_our_events_read_as_twisted_would_have_them(event: log.Event) -> None:
    facts = {field: 1.5 for _, field, _, _ in Formatter().parse(event.format) if field}
    recorded = emit(event, **facts)
    assert text(recorded).partition(" ")[2] == formatEvent(recorded) + "\n"


def test_an_event_that_lacks_a_fact_is_told_all_the_same() -> None:
    assert "Unable to format event" in text(emit(log.CONNECTED))


def test_lines_written_together_are_all_there_at_the_end() -> None:
    read, write = os.pipe()
    output, lines = log.together("json", write)
    for number in range(3):
        log.NOTICE(Logger(observer=output), text=str(number))
    lines.close()
    os.close(write)
    with open(read) as pipe:
        assert [json.loads(line)["text"] for line in pipe] == ["0", "1", "2"]
