"""When a session with a server is protected by TLS, and when a password may be sent."""

from __future__ import annotations

from ipaddress import ip_address

#: What C{--tls} takes.
MODES = ("auto", "starttls", "implicit", "none")
DEFAULT_PORT = 2525
#: Submission with TLS from the first octet (RFC 8314 section 3.3).
SUBMISSIONS_PORT = 465


def protection(mode: str, host: str, port: int, login: bool) -> str:
    """What C{mode} means for this server: C{starttls}, C{implicit} or C{none}.

    C{auto} is C{implicit} at port 465; elsewhere C{none} on loopback without login, and C{starttls} otherwise.

    @param login: whether a password is going to be sent.
    @raise ValueError: C{mode} is none of L{MODES}, or would send a password over a network in the clear.
    """
    if mode not in MODES:
        raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
    if mode == "none" and login and not is_loopback(host):
        raise ValueError("a password is never sent over a network without TLS")
    if mode != "auto":
        return mode
    if port == SUBMISSIONS_PORT:
        return "implicit"
    return "none" if is_loopback(host) and not login else "starttls"


def default_port(mode: str) -> int:
    """The port where none is given."""
    return SUBMISSIONS_PORT if mode == "implicit" else DEFAULT_PORT


def is_loopback(host: str) -> bool:
    """Whether C{host}, a name or an IP address, is this machine's loopback. No name but C{localhost} is (RFC 6761)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
