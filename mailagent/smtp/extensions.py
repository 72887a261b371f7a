"""What a server says that it can do: the lines of its reply to EHLO (RFC 5321 section 4.1.1.1). Pure, never fails."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from mailagent.envelope.reply import Reply

#: Keyword in upper case to its parameters as they stand.
Extensions = Mapping[str, str]

_LIMIT = re.compile(r"([A-Za-z0-9-]+)=([0-9]{1,6})\Z")


def read_extensions(reply: Reply) -> Extensions:
    """The extensions of a reply to EHLO; the first line is the server's name."""
    words = [line.split(None, 1) for line in reply.text.split("\n")[1:]]
    return {keyword.upper(): "".join(parameters) for keyword, *parameters in filter(None, words)}


@attrs.frozen
class Limits:
    """What the server takes at most (RFC 9422 section 4); C{None} where it does not say.

    @ivar messages: transactions in a session.
    @ivar recipients: of a transaction.
    @ivar domains: different ones among the recipients of a session.
    """

    messages: int | None = None
    recipients: int | None = None
    domains: int | None = None

    @classmethod
    def of(cls, extensions: Extensions) -> Limits:
        """Those of the LIMITS extension. A limit of zero, or one that is no number, is none."""
        text = extensions.get("LIMITS", "")
        if not text:
            return _NO_LIMITS
        found = filter(None, map(_LIMIT.match, text.split()))
        values = {limit[1].upper(): int(limit[2]) or None for limit in found}
        return cls(values.get("MAILMAX"), values.get("RCPTMAX"), values.get("RCPTDOMAINMAX"))


_NO_LIMITS = Limits()
