"""Every pair of state and verb is legal or has its one reply."""

from __future__ import annotations

import itertools

import pytest

from mailagent.smtp.verbs import State, Verb, illegal

ALWAYS = {Verb.HELO, Verb.EHLO, Verb.LHLO, Verb.RSET, Verb.NOOP, Verb.QUIT, Verb.VRFY, Verb.EXPN, Verb.HELP}
LEGAL = {
    State.START: ALWAYS | {Verb.XCLIENT},
    State.GREETED: ALWAYS | {Verb.XCLIENT, Verb.MAIL, Verb.STARTTLS, Verb.AUTH},
    State.MAIL: ALWAYS | {Verb.RCPT},
    State.RCPT: ALWAYS | {Verb.RCPT, Verb.DATA, Verb.BDAT},
    State.CHUNKS: ALWAYS | {Verb.BDAT},
}


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(State, Verb)))
def test_the_table_is_that_of_the_rfc(state: State, verb: Verb) -> None:
    refusal = illegal(state, verb)
    assert (refusal is None) == (verb in LEGAL[state])
    if refusal is not None:
        assert refusal.status == "5.5.1"
        assert refusal.code == (554 if state is State.MAIL and verb in (Verb.DATA, Verb.BDAT) else 503)


def test_a_transaction_is_open_between_mail_and_the_end_of_data() -> None:
    assert [state for state in State if state.in_transaction] == [State.MAIL, State.RCPT, State.CHUNKS]
