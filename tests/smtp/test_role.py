"""What may come when, by what a listener is for."""

from __future__ import annotations

import pytest

from mailagent.config.values import LOGIN_ROLES
from mailagent.config.values import ROLES as CONFIGURABLE
from mailagent.smtp.replies import UNKNOWN_COMMAND
from mailagent.smtp.role import LMTP, MX, NEEDS_AUTHENTICATION, NEEDS_TLS, ROLES, SUBMISSION, SUBMISSIONS, Role
from mailagent.smtp.verbs import Verb
from tests.memory_server import MemoryServer, codes


def refused(role_name: str, *, encrypted: bool, authenticated: bool) -> set[Verb]:
    role = ROLES[role_name]
    refused = {verb for verb in Verb if role.refusal(verb, encrypted=encrypted, authenticated=authenticated)}
    return refused - {Verb.LHLO}


def test_every_role_of_the_configuration_is_one() -> None:
    assert set(ROLES) == set(CONFIGURABLE)
    assert {name for name, role in ROLES.items() if role.offers_authentication} == set(LOGIN_ROLES)


def test_an_mx_asks_for_nothing() -> None:
    assert refused("mx", encrypted=False, authenticated=False) == set()
    assert not MX.implicit_tls


@pytest.mark.parametrize("role", ["submission", "submissions"])
def test_a_submission_lets_nothing_by_but_the_way_to_tls_then_to_the_login(role: str) -> None:
    allowed = {Verb.EHLO, Verb.NOOP, Verb.QUIT, Verb.STARTTLS}
    assert refused(role, encrypted=False, authenticated=True) == set(Verb) - {Verb.LHLO} - allowed
    assert refused(role, encrypted=True, authenticated=False) == set(Verb) - {Verb.LHLO} - allowed - {
        Verb.HELO,
        Verb.RSET,
        Verb.AUTH,
        Verb.XCLIENT,
    }
    assert refused(role, encrypted=True, authenticated=True) == set()


def test_lmtp_has_another_hello() -> None:
    def unknown(role: Role) -> set[Verb]:
        return {verb for verb in Verb if role.unknown(verb)}

    assert unknown(LMTP) == {Verb.HELO, Verb.EHLO}
    assert unknown(MX) == unknown(SUBMISSION) == {Verb.LHLO}
    assert LMTP.refusal(Verb.EHLO, encrypted=True, authenticated=True) is UNKNOWN_COMMAND
    assert SUBMISSION.refusal(Verb.LHLO, encrypted=False, authenticated=False) is UNKNOWN_COMMAND


def test_tls_is_asked_for_before_the_login() -> None:
    assert SUBMISSION.refusal(Verb.MAIL, encrypted=False, authenticated=False) is NEEDS_TLS
    assert SUBMISSION.refusal(Verb.AUTH, encrypted=False, authenticated=False) is NEEDS_TLS
    assert SUBMISSIONS.refusal(Verb.MAIL, encrypted=True, authenticated=False) is NEEDS_AUTHENTICATION


def test_a_session_asks_its_role_before_its_state() -> None:
    connection = MemoryServer().connect()
    connection.session.role = SUBMISSION
    connection.received()
    assert connection.send(b"MAIL FROM:<a@b>\r\n") == b"530 5.7.0 Must issue a STARTTLS command first\r\n"
    assert codes(connection.send(b"EHLO x\r\nMAIL FROM:<a@b>\r\nDATA\r\nNOOP\r\n"))[1:] == [
        "530 5.7.0",
        "530 5.7.0",
        "250 2.0.0",
    ]
    connection.session.startedTLS = True
    assert connection.send(b"MAIL FROM:<a@b>\r\n") == b"530 5.7.0 Authentication required\r\n"
    connection.session.authenticated = True
    assert codes(connection.send(b"MAIL FROM:<a@b>\r\n")) == ["250 2.1.0"]
