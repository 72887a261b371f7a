"""How sessions with next hops are opened: TLS and logins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from mailagent.config.outbound import RouteSettings
from mailagent.config.values import ConfiguredPath, Destination, Security, Text
from mailagent.envelope.envelope import Envelope
from tests.relay.internet import (
    ANN,
    EVE,
    ONE,
    STARTTLS,
    THREE,
    TWO,
    Internet,
    attempt,
    configured,
    everything,
    replies,
    to_ann,
    verified,
)
from tests.smtp.outgoing_server import OK

LOOPBACK = "127.0.0.1"


def smarthost(tmp_path: Path, host: str = "smart.example", mode: int = 0o600, **settings: Any) -> RouteSettings:
    password = tmp_path / "password"
    password.write_text("sesame\n")
    password.chmod(mode)
    return RouteSettings(
        to=Destination(f"smtp:{host}:587"), user=Text("me"), password_file=ConfiguredPath(str(password)), **settings
    )


# TLS


def test_tls_is_used_where_offered_with_whoever_is_there() -> None:
    internet = Internet({ONE: STARTTLS})
    assert replies(internet.deliver()) == [OK]
    assert verified(internet) == [False]


def test_where_it_is_not_offered_or_refused_the_session_goes_on_in_the_clear() -> None:
    for script in ({}, {**STARTTLS, "STARTTLS": "454 4.7.0 Not now"}):
        internet = Internet({ONE: script})
        assert replies(internet.deliver()) == [OK]
        assert verified(internet) == []
        assert len(internet.connections) == 1


def test_where_the_handshake_fails_a_new_connection_does_without_and_so_for_an_hour() -> None:
    internet = Internet({ONE: STARTTLS, TWO: {}}, broken_tls={ONE})
    with capturedLogs() as events:
        for tried, later in ((2, 3599), (3, 3600), (5, 0)):
            assert replies(internet.deliver()) == [OK]
            assert internet.places == [ONE] * tried
            internet.clock.advance(later)
            internet.run()
    assert [event["event"] for event in events if event.get("event") == "tls_given_up"] == ["tls_given_up"] * 2


@pytest.mark.parametrize("tls", ["require", "verify"])
def test_where_tls_is_asked_for_there_is_no_way_around_it(tls: str) -> None:
    internet = Internet({ONE: {}, TWO: STARTTLS}, config=configured(tls), broken_tls={TWO})
    attempted = internet.deliver()
    assert [reply[:9] for reply in replies(attempted)] == ["451 4.7.5"]
    assert attempted.hold == 60
    assert internet.places == [ONE, TWO]
    assert not any("MAIL" in line for number in (0, 1) for line in internet.heard(number))


@pytest.mark.parametrize(("tls", "asked_for"), [("require", False), ("verify", True)])
def test_only_verify_asks_for_the_certificate(tls: str, asked_for: bool) -> None:
    internet = Internet({ONE: STARTTLS}, config=configured(tls))
    assert replies(internet.deliver()) == [OK]
    assert verified(internet) == [asked_for]


def test_a_routes_demand_goes_before_the_general_one() -> None:
    route = RouteSettings(tls=Security("verify"))
    internet = Internet({ONE: STARTTLS}, config=configured("may", {"d.example": route}))
    internet.deliver()
    assert verified(internet) == [True]


def test_authorities_that_cannot_be_read_defer() -> None:
    internet = Internet({ONE: STARTTLS, TWO: STARTTLS}, config=configured("verify", authorities="/nonexistent.pem"))
    assert [reply[:9] for reply in replies(internet.deliver())] == ["451 4.7.5"]
    assert internet.connections == []


def test_requiretls_is_verified_and_passed_on_where_a_server_takes_it() -> None:
    internet = Internet({ONE: STARTTLS, TWO: {"EHLO": "250-mx\r\n250-STARTTLS\r\n250 REQUIRETLS"}})
    attempted = internet.deliver(attempt(Envelope(EVE, (ANN,), require_tls=True)))
    assert replies(attempted) == [OK]
    assert attempted.outcomes[0].hop.host == "two"
    assert verified(internet, 1) == [True]
    assert internet.heard(1)[3] == "MAIL FROM:<eve@here.example> REQUIRETLS"


def test_requiretls_that_nobody_takes_fails() -> None:
    internet = Internet({ONE: STARTTLS, TWO: STARTTLS})
    attempted = internet.deliver(attempt(Envelope(EVE, (ANN,), require_tls=True)))
    assert [reply[:10] for reply in replies(attempted)] == ["550 5.7.30"]


def test_a_report_goes_whatever_the_message_required() -> None:
    internet = Internet({ONE: {}})
    assert replies(internet.deliver(attempt(Envelope(None, (ANN,), require_tls=True)))) == [OK]


def test_requiretls_that_fails_holds_up_no_other_message() -> None:
    internet = Internet({ONE: {}, TWO: {}})
    attempted = internet.deliver(attempt(Envelope(EVE, (ANN,), require_tls=True)))
    assert attempted.outcomes[0].deferred
    assert attempted.hold == 0
    assert replies(internet.deliver()) == [OK]


def test_one_routes_demand_that_fails_holds_up_no_other_domain() -> None:
    names = {"d.example": ["10 one"], "e.example": ["10 one"], "one": [ONE]}
    config = configured(routes={"d.example": RouteSettings(tls=Security("verify"))})
    internet = Internet({ONE: {}}, config, names)
    assert internet.deliver().hold == 60
    assert replies(internet.deliver(to_ann(destination="e.example"))) == [OK]


# Logins


def test_a_login_goes_over_verified_tls_whatever_the_route_says(tmp_path: Path) -> None:
    internet = Internet({THREE: STARTTLS | {"AUTH": "235 2.7.0 Welcome"}}, config=everything(smarthost(tmp_path)))
    assert replies(internet.deliver()) == [OK]
    assert verified(internet) == [True]
    assert internet.heard(0)[3] == "AUTH PLAIN AG1lAHNlc2FtZQ=="


def test_without_tls_a_login_is_not_given(tmp_path: Path) -> None:
    internet = Internet({THREE: {"EHLO": "250-mx\r\n250 AUTH PLAIN"}}, config=everything(smarthost(tmp_path)))
    assert internet.deliver().outcomes[0].deferred
    assert not any("AUTH" in line for line in internet.heard(0))


def test_on_loopback_it_is(tmp_path: Path) -> None:
    script = {"EHLO": "250-mx\r\n250 AUTH PLAIN", "AUTH": "235 2.7.0 Welcome"}
    internet = Internet({LOOPBACK: script}, config=configured(routes={"*": smarthost(tmp_path, LOOPBACK)}))
    assert replies(internet.deliver()) == [OK]


def test_a_refused_login_bounces_nothing(tmp_path: Path) -> None:
    script = STARTTLS | {"AUTH": "535 5.7.8 Wrong"}
    internet = Internet({THREE: script}, config=everything(smarthost(tmp_path)))
    attempted = internet.deliver()
    assert [reply[:9] for reply in replies(attempted)] == ["451 4.7.8"]
    assert attempted.hold == 60


def test_a_password_that_others_may_read_is_not_used_and_the_log_says_so(tmp_path: Path) -> None:
    internet = Internet({THREE: STARTTLS}, config=configured(routes={"*": smarthost(tmp_path, mode=0o644)}))
    with capturedLogs() as events:
        attempted = internet.deliver()
    assert attempted.outcomes[0].deferred
    assert str(tmp_path) not in replies(attempted)[0]  # which senders may see
    assert internet.connections == []
    assert any("chmod 600" in str(event.get("reason")) for event in events if event.get("event") == "error")
    assert "sesame" not in str(events)


def test_a_user_without_a_password_file_is_told_in_the_log_alone() -> None:
    route = RouteSettings(to=Destination("smtp:smart.example:587"), user=Text("me"))
    assert Internet({THREE: {}}, config=configured(routes={"*": route})).deliver().outcomes[0].deferred
