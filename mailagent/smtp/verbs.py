"""The verb table: which command may come in which state of a session (RFC 5321 section 4.1.4).

A session is in one of five states:

  1. C{START}: the banner is out, the client has not said who it is (also after STARTTLS);
  2. C{GREETED}: HELO, EHLO or (RFC 2033) LHLO was taken; no transaction is open;
  3. C{MAIL}: a transaction is open: a reverse-path, no recipient yet;
  4. C{RCPT}: at least one recipient was accepted;
  5. C{CHUNKS}: a part of the message came by BDAT, its last one not yet.

Every pair of state and verb stands here: it is legal, or it has exactly one reply.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from mailagent.envelope.reply import Reply


class Verb(enum.Enum):
    """The commands of RFC 5321 and of the extensions a session may know."""

    HELO = "HELO hostname"
    EHLO = "EHLO hostname"
    LHLO = "LHLO hostname"
    MAIL = "MAIL FROM:<address> [SIZE=octets] [BODY=8BITMIME] [SMTPUTF8]"
    RCPT = "RCPT TO:<address>"
    DATA = "DATA"
    RSET = "RSET"
    NOOP = "NOOP [anything]"
    QUIT = "QUIT"
    VRFY = "VRFY address [SMTPUTF8]"
    EXPN = "EXPN list"
    HELP = "HELP [command]"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH mechanism [initial-response]"
    BDAT = "BDAT octets [LAST]"
    XCLIENT = "XCLIENT attribute=value ..."

    __hash__ = object.__hash__  # each is one object, and Enum's own is no cheap one


class State(enum.Enum):
    """Where a session stands."""

    START = enum.auto()
    GREETED = enum.auto()
    MAIL = enum.auto()
    RCPT = enum.auto()
    CHUNKS = enum.auto()

    __hash__ = object.__hash__

    @property
    def in_transaction(self) -> bool:
        """Whether a mail transaction is open."""
        return self in (State.MAIL, State.RCPT, State.CHUNKS)


_NO_HELO = Reply(503, "5.5.1", "Say hello first (HELO, EHLO; with LMTP, LHLO)")
_NO_MAIL = Reply(503, "5.5.1", "MAIL must come first")
_NESTED = Reply(503, "5.5.1", "A transaction is open already; end it or RSET")
_CHUNKS = Reply(503, "5.5.1", "The message is coming in chunks; send the rest with BDAT, or RSET")
NO_RECIPIENTS = Reply(554, "5.5.1", "No valid recipients")
#: The same in LMTP (RFC 2033 section 4.2).
NO_RECIPIENTS_LMTP = Reply(503, "5.5.1", "No valid recipients")

_MESSAGE = {State.START: _NO_HELO, State.GREETED: _NO_MAIL, State.MAIL: NO_RECIPIENTS}
_BETWEEN_TRANSACTIONS = {
    State.START: _NO_HELO,
    State.MAIL: _NESTED,
    State.RCPT: _NESTED,
    State.CHUNKS: _NESTED,
}

_ILLEGAL: Mapping[Verb, Mapping[State, Reply]] = MappingProxyType(
    {
        Verb.MAIL: _BETWEEN_TRANSACTIONS,
        Verb.RCPT: {State.START: _NO_HELO, State.GREETED: _NO_MAIL, State.CHUNKS: _CHUNKS},
        Verb.DATA: {**_MESSAGE, State.CHUNKS: _CHUNKS},
        Verb.BDAT: _MESSAGE,
        Verb.STARTTLS: _BETWEEN_TRANSACTIONS,
        Verb.AUTH: _BETWEEN_TRANSACTIONS,
        Verb.XCLIENT: {State.MAIL: _NESTED, State.RCPT: _NESTED, State.CHUNKS: _NESTED},
    }
)
#: By name.
VERBS: Mapping[str, Verb] = dict(Verb.__members__)
#: What must end a group of pipelined commands, for its answer decides what comes next (RFC 2920 section 3.1).
LAST_IN_GROUP = frozenset({Verb.DATA, Verb.STARTTLS, Verb.AUTH})
#: What a browser says, or a web page that makes a browser speak to us.
HTTP_VERBS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PRI", "PUT", "TRACE"})
#: What takes no argument; giving one is C{501 5.5.4}.
BARE_VERBS = frozenset({Verb.DATA, Verb.RSET, Verb.QUIT, Verb.STARTTLS})


def illegal(state: State, verb: Verb) -> Reply | None:
    """The refusal of C{verb} in C{state}, or C{None} where it is legal."""
    return _ILLEGAL.get(verb, {}).get(state)
