"""How long a client waits for a server."""

from __future__ import annotations

import attrs


@attrs.frozen
class Timeouts:
    """Seconds to wait in each phase (RFC 5321 section 4.5.3.2)."""

    greeting: float = 300.0
    command: float = 300.0  # EHLO, HELO, LHLO, STARTTLS, RSET: the RFC names no time
    tls: float = 60.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    verdict: float = 600.0
    quit: float = 5.0  # everything is decided by then: it is only a courtesy
