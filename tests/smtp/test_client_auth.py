"""Mechanisms by themselves, against nothing and against scramp's own server."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism
from twisted.internet.defer import succeed

from mailagent.smtp.client_auth import MECHANISMS, BadChallenge, Login, LoginMechanism, Plain, ScramSha256, usable

LOGIN = Login("ann", "s\xe9same", lambda call: succeed(call()))
SCRAM = ScramMechanism("SCRAM-SHA-256")


def exchanged(rounds: int = 4096, password: str = LOGIN.password, alter: str = "") -> ScramSha256:
    """Both sides of SCRAM, to the end."""
    client = ScramSha256(LOGIN)
    server = SCRAM.make_server(lambda _: SCRAM.make_auth_info(password, iteration_count=rounds))
    assert client.initial is not None
    server.set_client_first(client.initial.decode())
    server.set_client_final(client.respond(server.get_server_first().encode()).decode())
    assert client.respond((server.get_server_final() + alter).encode()) == b""
    return client


def test_the_best_of_what_is_offered_comes_first_in_any_case() -> None:
    assert usable(["LOGIN", "cram-md5", "plain", "Scram-SHA-256"]) == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert usable(["XOAUTH2"]) == []


def test_plain_tells_all_at_once() -> None:
    plain = Plain(LOGIN)
    assert plain.initial == "\0ann\0s\xe9same".encode()
    with pytest.raises(BadChallenge):
        plain.respond(b"more?")


def test_login_tells_one_after_the_other() -> None:
    login = LoginMechanism(LOGIN)
    assert login.initial is None
    assert (login.respond(b"Username:"), login.respond(b"?")) == (b"ann", "s\xe9same".encode())
    with pytest.raises(BadChallenge):
        login.respond(b"more?")


def test_scram_is_complete_once_the_server_has_proven_itself() -> None:
    assert not ScramSha256(LOGIN).complete
    assert exchanged().complete


def test_a_server_that_proves_nothing_is_not_believed() -> None:
    with pytest.raises(BadChallenge):
        exchanged(alter="x")


@pytest.mark.parametrize("rounds", ["1", "4095", "10000001", "99999999999"])
def test_a_server_cannot_weaken_the_hash_nor_have_us_count_for_ever(rounds: str) -> None:
    client = ScramSha256(LOGIN)
    assert client.initial is not None
    nonce = client.initial.decode().rpartition("r=")[2]
    with pytest.raises(BadChallenge):
        client.respond(f"r={nonce}more,s=c2FsdHNhbHQ=,i={rounds}".encode())


@given(st.sampled_from(sorted(MECHANISMS)), st.lists(st.binary() | st.text("rsive=,a0\0").map(str.encode), max_size=4))
def test_any_challenge_has_a_response_or_is_bad(name: str, challenges: list[bytes]) -> None:
    mechanism = MECHANISMS[name](LOGIN)
    with suppress(BadChallenge):
        for challenge in challenges:
            assert isinstance(mechanism.respond(challenge), bytes)
    assert mechanism.complete == (name != "SCRAM-SHA-256")


def test_a_user_that_cannot_be_prepared_is_an_error() -> None:
    with pytest.raises(BadChallenge):
        ScramSha256(Login("", "x", LOGIN.in_thread))


def test_the_password_is_not_in_the_logins_repr() -> None:
    assert "same" not in repr(LOGIN)
