"""What a listener is for, as a policy that is handed to its sessions: they ask it, and know no roles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from mailagent.envelope.reply import Reply
from mailagent.smtp.verbs import Verb

NEEDS_TLS = Reply(530, "5.7.0", "Must issue a STARTTLS command first")
NEEDS_AUTHENTICATION = Reply(530, "5.7.0", "Authentication required")

#: RFC 3207 section 4: what may come before TLS where TLS is required.
_BEFORE_TLS = frozenset({Verb.EHLO, Verb.NOOP, Verb.QUIT, Verb.STARTTLS})
#: RFC 4954 section 6: what may come before AUTH where AUTH is required; and a proxy's word.
_BEFORE_AUTHENTICATION = _BEFORE_TLS | {Verb.HELO, Verb.RSET, Verb.AUTH, Verb.XCLIENT}


@attrs.frozen
class Role:
    """A listener's policy.

    @ivar implicit_tls: TLS begins with the first octet (RFC 8314).
    @ivar requires_tls: without TLS, nothing but the way to it.
    @ivar requires_authentication: without a login, nothing but the way to it.
    @ivar offers_authentication: whether this is a place to log in at all.
    @ivar knows_users: its clients are users of this machine, on a local socket: the system tells which (SO_PEERCRED).
    """

    name: str
    implicit_tls: bool = False
    requires_tls: bool = False
    requires_authentication: bool = False
    offers_authentication: bool = False
    knows_users: bool = False

    def refusal(self, verb: Verb, *, encrypted: bool, authenticated: bool) -> Reply | None:
        """Why C{verb} may not come now, or C{None} where it may.

        @param encrypted: whether the session runs over TLS.
        @param authenticated: whether its client has logged in.
        """
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

ROLES: Mapping[str, Role] = MappingProxyType({role.name: role for role in (MX, SUBMISSION, SUBMISSIONS)})
