"""What the client's exit status says: C{sysexits.h}, and two of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mailagent.envelope.outcome import Outcome
from mailagent.smtp.sending_failed import LoginFailed, NotSecure, ProtocolError, SendingFailed, Unreachable

ALL_ACCEPTED = os.EX_OK
#: Some recipients were accepted, others were not.
PARTLY_ACCEPTED = 3
#: The person at the terminal gave up (as a shell reports a program ended by ^C).
CANCELLED = 130


def of_outcomes(outcomes: Sequence[Outcome]) -> int:
    """The status when the server has decided on each recipient."""
    accepted = sum(outcome.delivered for outcome in outcomes)
    if accepted:
        return ALL_ACCEPTED if accepted == len(outcomes) else PARTLY_ACCEPTED
    if any(outcome.deferred for outcome in outcomes):
        return os.EX_TEMPFAIL
    return os.EX_NOUSER if all(_is_unknown(outcome) for outcome in outcomes) else os.EX_UNAVAILABLE


def of_failure(failure: SendingFailed) -> int:
    """The status when the session broke off."""
    if isinstance(failure, Unreachable):
        return os.EX_UNAVAILABLE
    if isinstance(failure, ProtocolError):
        return os.EX_PROTOCOL
    if isinstance(failure, NotSecure) and failure.reply is None:
        return os.EX_PROTOCOL
    if isinstance(failure, LoginFailed) and failure.verdict.permanent:
        return os.EX_NOPERM
    return os.EX_UNAVAILABLE if failure.verdict.permanent else os.EX_TEMPFAIL


def _is_unknown(outcome: Outcome) -> bool:
    """Whether it is the address that was refused (RFC 3463 section 3.2; without a status, RFC 5321 section 4.2.3)."""
    reply = outcome.reply
    return reply.status.startswith("5.1.") if reply.status else reply.code in (550, 551, 553)
