"""What a listener is for, as a policy that is handed to its sessions: they ask it, and know no roles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from mailagent.envelope.reply import Reply
from mailagent.smtp.replies import UNKNOWN_COMMAND
from mailagent.smtp.verbs import Verb

NEEDS_TLS = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
NEEDS_AUTHENTICATION = Reply(530, "5.7.0", "Authentication required")

#: RFC 3207 section 4: what may come before TLS where TLS is required.
_BEFORE_TLS = frozenset({Verb.EHLO, Verb.NOOP, Verb.QUIT, Verb.STARTTLS})
#: RFC 4954 section 6: what may come before AUTH where AUTH is required; and a proxy's word.
_BEFORE_AUTHENTICATION = _BEFORE_TLS | {Verb.HELO, Verb.RSET, Verb.AUTH, Verb.XCLIENT}

#: RFC 2033 section 4.1: how LMTP says hello, and how it does not.
_LMTP_ONLY = frozenset({Verb.LHLO})
_SMTP_ONLY = frozenset({Verb.HELO, Verb.EHLO})


@attrs.frozen
class Role:
    """A listener's policy.

    @ivar implicit_tls: TLS begins with the first octet (RFC 8314).
    @ivar requires_tls: without TLS, nothing but the way to it.
    @ivar requires_authentication: without a login, nothing but the way to it.
    @ivar offers_authentication: whether this is a place to log in at all.
    @ivar knows_users: its clients are users of this machine, on a local socket: the system tells which (SO_PEERCRED).
    @ivar lmtp: sessions speak LMTP (RFC 2033): LHLO, and a reply for each recipient.
    """

    name: str
    implicit_tls: bool = False
    requires_tls: bool = False
    requires_authentication: bool = False
    offers_authentication: bool = False
    knows_users: bool = False
    lmtp: bool = False

    def unknown(self, verb: Verb) -> bool:
        """Whether C{verb} is none of the protocol that is spoken here."""
        return verb in (_SMTP_ONLY if self.lmtp else _LMTP_ONLY)

    def refusal(self, verb: Verb, *, encrypted: bool, authenticated: bool) -> Reply | None:
        """Why C{verb} may not come now, or C{None} where it may.

        @param encrypted: whether the session runs over TLS.
        @param authenticated: whether its client has logged in.
        """
        if self.unknown(verb):
            return UNKNOWN_COMMAND
        if self.requires_tls and not encrypted and verb not in _BEFORE_TLS:
            return NEEDS_TLS
        if self.requires_authentication and not authenticated and verb not in _BEFORE_AUTHENTICATION:
            return NEEDS_AUTHENTICATION
        return None


#: Other servers bring mail for our own hosts (RFC 5321).
MX = Role("mx")
#: Our users send (RFC 6409), after STARTTLS.
SUBMISSION = Role("submission", requires_tls=True, requires_authentication=True, offers_authentication=True)
#: The same with TLS from the first octet (RFC 8314 section 3.3).
SUBMISSIONS = attrs.evolve(SUBMISSION, name="submissions", implicit_tls=True)
#: Users of this machine send, over a local socket; not for a configured listener.
LOCAL = Role("local", knows_users=True)
#: A local client hands over mail for our own hosts, as C{MX} takes it (RFC 2033).
LMTP = Role("lmtp", lmtp=True)

ROLES: Mapping[str, Role] = MappingProxyType({role.name: role for role in (MX, SUBMISSION, SUBMISSIONS, LMTP)})
