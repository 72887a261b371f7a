"""The mechanisms: what they make of good, wrong and any octets."""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramMechanism
from twisted.cred.credentials import IUsernamePassword
from zope.interface.verify import verifyObject

from mailagent.interfaces import IProvenLogin
from mailagent.smtp.auth import Exchange, Login, MalformedResponse, NotAllowed, Plain, ScramSha256, decode


@attrs.frozen
class Record:
    salt: bytes
    stored_key: bytes
    server_key: bytes
    rounds: int


SECRET = Record(*ScramMechanism("SCRAM-SHA-256").make_auth_info("secret", 4096, b"0123456789abcdef"))


def scram(password: str = "secret") -> tuple[ScramSha256, ScramClient]:
    return ScramSha256(lambda name: SECRET), ScramClient(["SCRAM-SHA-256"], "ann", password)


def test_they_provide_what_cred_asks_for() -> None:
    verifyObject(IUsernamePassword, Plain())
    verifyObject(IUsernamePassword, Login())
    verifyObject(IProvenLogin, scram()[0])


@pytest.mark.parametrize("response", [b"\0ann\0secret", b"ann\0ann\0secret"])
def test_plain_gives_name_and_password(response: bytes) -> None:
    plain = Plain()
    assert plain.getChallenge() == b""
    plain.setResponse(response)
    assert (plain.username, plain.password, plain.moreChallenges()) == (b"ann", b"secret", False)
    assert plain.checkPassword(b"secret")
    assert not plain.checkPassword(b"Secret")


def test_nobody_acts_for_somebody_else() -> None:
    with pytest.raises(NotAllowed):
        Plain().setResponse(b"bob\0ann\0secret")


@pytest.mark.parametrize(
    "response", [b"", b"ann", b"\0ann", b"\0\0x", b"\0ann\0", b"\0a\0b\0c", b"\0" + b"x" * 256 + b"\0y"]
)
def test_plain_refuses_what_is_not_its_grammar(response: bytes) -> None:
    with pytest.raises(MalformedResponse):
        Plain().setResponse(response)


def test_login_asks_for_name_and_password() -> None:
    login = Login()
    assert login.getChallenge() == b"Username:"
    login.setResponse(b"ann")
    assert (login.moreChallenges(), login.getChallenge()) == (True, b"Password:")
    login.setResponse(b"secret")
    assert (login.username, login.password, login.moreChallenges()) == (b"ann", b"secret", False)


def test_scram_proves_the_password_to_the_server_and_the_verifier_to_the_client() -> None:
    server, client = scram()
    assert server.getChallenge() == b""
    server.setResponse(client.get_client_first().encode())
    client.set_server_first(server.getChallenge().decode())
    assert (server.username, server.proven, server.moreChallenges()) == (b"ann", False, True)
    server.setResponse(client.get_client_final().encode())
    client.set_server_final(server.getChallenge().decode())
    server.setResponse(b"")
    assert (server.proven, server.moreChallenges()) == (True, False)


def test_scram_with_a_wrong_password_ends_unproven_without_a_word() -> None:
    server, client = scram("Secret")
    server.setResponse(client.get_client_first().encode())
    client.set_server_first(server.getChallenge().decode())
    server.setResponse(client.get_client_final().encode())
    assert (server.proven, server.moreChallenges(), server.getChallenge()) == (False, False, b"")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,a=bob,n=ann,r=x",
        b"p=tls-unique,,n=ann,r=x",
        b"n,,n=ann,r=",
        b"n,,m=1,n=ann,r=x",
        b"n,,n=ann,r=" + b"x" * 300,
        b"\xff",
    ],
)
def test_scram_refuses_a_first_message_that_is_none(first: bytes) -> None:
    with pytest.raises(MalformedResponse):
        scram()[0].setResponse(first)


def test_trouble_with_the_users_is_not_the_clients_fault() -> None:
    def broken(name: str) -> Record:
        raise LookupError("no users now")

    with pytest.raises(LookupError):
        ScramSha256(broken).setResponse(b"n,,n=ann,r=x")


@pytest.mark.parametrize("make", [Plain, Login, lambda: scram()[0]])
@given(responses=st.lists(st.binary() | st.from_regex(rb"n,,n=[a-z=]+,r=.{1,4}") | st.from_regex(rb"c=biws,r=.+,p=.+")))
def test_any_responses_are_taken_or_malformed(make: Callable[[], Exchange], responses: list[bytes]) -> None:
    exchange = make()
    for response in responses:
        try:
            exchange.setResponse(response)
        except (MalformedResponse, NotAllowed):
            return
        if not exchange.moreChallenges():
            return
        exchange.getChallenge()


@given(st.binary())
def test_base64_is_read_back(octets: bytes) -> None:
    assert decode(b64encode(octets)) == octets


@given(st.binary())
def test_any_octets_are_base64_or_malformed(octets: bytes) -> None:
    with contextlib.suppress(MalformedResponse):
        assert b64encode(decode(octets))[:-4] == octets[:-4]


@pytest.mark.parametrize("encoded", [b"=", b"YQ", b"YQ=", b"Y Q==", b"YQ==YQ==", b"YQ==\n", b"YQ-_"])
def test_base64_is_strict(encoded: bytes) -> None:
    with pytest.raises(MalformedResponse):
        decode(encoded)
