"""The settings: every name, type, default and meaning. The converter, the reference and the reader all use this one.

Values are frozen. A setting's meaning stands in its attrs metadata under C{doc}, so that it reaches the operator;
C{shown} there replaces a default that only the running machine can tell.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import attrs

from mailagent.config import values
from mailagent.config.meaning import doc
from mailagent.config.outbound import QueueSettings, RelaySettings, RouteSettings
from mailagent.config.values import (
    ConfiguredPath,
    Count,
    Domain,
    Duration,
    Endpoint,
    Network,
    Pattern,
    Role,
    Size,
    Source,
    Switch,
    Target,
    Targets,
    Url,
    UserName,
    Workers,
)

BUILT_IN = "built-in default"


def machine_name() -> Domain:
    """This machine's fully qualified name, else its plain name, else C{"localhost"}: the first that is one."""
    qualified, plain = socket.getfqdn(), socket.gethostname()
    candidates = (plain, qualified) if qualified.startswith("localhost") else (qualified, plain)
    for name in candidates:
        try:
            return Domain(values.domain(name))
        except ValueError:
            continue
    return Domain("localhost")


@attrs.frozen
class HostSettings:
    """Who receives mail at one host, when hosts differ. Mailboxes are at `<path>/<host>/<user>`."""

    users: tuple[UserName, ...] = attrs.field(
        default=(),
        metadata=doc("Who has a mailbox. Letter case does not matter; mail for `user+tag` goes to `user`."),
    )
    aliases: Mapping[UserName, Targets] = attrs.field(
        factory=dict,
        metadata=doc(
            "Further names, each for one or several of the `users`, or for addresses: "
            '`{ sales = ["ann", "someone@elsewhere.example"], info = "ann" }`. Mail for an address elsewhere is '
            "forwarded; if that fails, `owner-sales` hears of it, or `postmaster` where there is no such name. "
            "[Aliases](aliases.md) tells more."
        ),
    )
    catch_all: Target | None = attrs.field(
        default=None, metadata=doc("One of the `users`, or an address, that gets the mail for every other name.")
    )
    postmaster: UserName | None = attrs.field(
        default=None,
        metadata=doc(
            "One of the `users`, who gets the mail for `postmaster` (RFC 5321 section 4.5.1), "
            "unless a user or an alias of that name is listed.",
            shown="the first of the `users`",
        ),
    )


@attrs.frozen
class WhitelistSettings(HostSettings):
    """Every user at every host, as simple as it gets. Mailboxes are at `<path>/<user>`, whatever the host."""

    hosts: tuple[Domain, ...] = attrs.field(
        default=(),
        metadata=doc(
            "The domains we take mail for. Letter case does not matter; an internationalised domain may be "
            "written either way (`bücher.example`, `xn--bcher-kva.example`)."
        ),
    )


@attrs.frozen
class MailboxSettings:
    """Where mail is kept."""

    path: ConfiguredPath = attrs.field(
        default=ConfiguredPath("mailboxes"),
        metadata=doc("The directory that holds the Maildirs. Both are created at start when they are missing."),
    )


@attrs.frozen
class Listener:
    """Where we listen: one table for each listener."""

    endpoint: Endpoint = attrs.field(
        default=Endpoint("tcp:2525:interface=127.0.0.1"),
        metadata=doc("A Twisted server endpoint; `systemd:` takes a socket from systemd."),
    )
    role: Role = attrs.field(
        default=Role("mx"),
        metadata=doc(
            "What the listener is for: `mx` receives mail for our own hosts (port 25), `submission` takes mail from "
            "our users after STARTTLS and login (port 587), `submissions` the same with TLS from the first octet "
            "(port 465); these two need users who can log in (`[directory]`). `lmtp` takes mail for our own hosts by "
            "LMTP (RFC 2033) from another server on this machine: best on a `unix:` socket, else on loopback."
        ),
    )
    proxies: tuple[Network, ...] = attrs.field(
        default=(),
        metadata=doc(
            "Proxies that tell who the client is by the PROXY protocol, version 1 or 2, and must. "
            "Peers that are not listed are never believed."
        ),
    )
    xclient: tuple[Network, ...] = attrs.field(
        default=(),
        metadata=doc(
            "Proxies that may tell by the XCLIENT command who the client is, as Postfix has it. "
            "It is neither offered to others nor taken from them (550)."
        ),
    )


@attrs.frozen
class CertificateSettings:
    """A further certificate, for clients that ask for this host by name (SNI)."""

    certificate: ConfiguredPath | None = attrs.field(
        default=None,
        metadata=doc("A PEM file: the certificate, then the others of its chain. Read again when it changes."),
    )
    key: ConfiguredPath | None = attrs.field(
        default=None,
        metadata=doc("A PEM file with the private key, unencrypted. It may be the same file."),
    )


@attrs.frozen
class TlsSettings(CertificateSettings):
    """Our certificate. Without one, a self-signed certificate is made in the state directory, and STARTTLS works.

    TLS is 1.2 or newer, with forward secrecy and authenticated encryption. [TLS](tls.md) tells more.
    """

    hosts: Mapping[Domain, CertificateSettings] = attrs.field(
        factory=dict, metadata=doc("Further certificates, by the name that clients ask for.")
    )


@attrs.frozen
class Limits:
    """What one peer may ask of us."""

    message_size: Size = attrs.field(
        default=Size(25 * 1024**2),
        metadata=doc("The largest message we take; a larger one is refused (552, RFC 1870)."),
    )
    recipients: Count = attrs.field(
        default=Count(100),
        metadata=doc(
            "Recipients tried in one message, accepted or not; further ones are told to come back "
            "(452, RFC 5321 section 4.5.3.1.10)."
        ),
    )
    recipients_per_session: Count = attrs.field(
        default=Count(10_000), metadata=doc("Recipients of all messages of one session; further ones get 452.")
    )
    header_size: Size = attrs.field(
        default=Size(256 * 1024), metadata=doc("The largest header of a message; a larger one is refused (552).")
    )
    hops: Count = attrs.field(
        default=Count(100),
        metadata=doc(
            "`Received` fields a message may bring; with more it is going in a circle (554, RFC 5321 section 6.3)."
        ),
    )
    commands_per_session: Count = attrs.field(
        default=Count(25_000),
        metadata=doc("Commands in one session before it is closed with 421. What answers a challenge of AUTH is none."),
    )
    errors: Count = attrs.field(
        default=Count(20), metadata=doc("Bad commands in one session before it is closed with 421.")
    )
    idle_time: Duration = attrs.field(
        default=Duration(300.0),
        metadata=doc("How long a peer may be silent (RFC 5321 section 4.5.3.2.7 asks for at least 5 min)."),
    )
    content_idle_time: Duration = attrs.field(
        default=Duration(180.0),
        metadata=doc("How long a peer may be silent in the middle of a message (RFC 5321 section 4.5.3.2.5)."),
    )
    session_time: Duration = attrs.field(
        default=Duration(7200.0), metadata=doc("How long a session may last, whatever it does, before it gets 421.")
    )
    sessions: Count = attrs.field(
        default=Count(1000), metadata=doc("Sessions at the same time; further ones are turned away with 421.")
    )
    sessions_per_network: Count = attrs.field(
        default=Count(50),
        metadata=doc(
            "Sessions at the same time from one client network: an IPv4 address or an IPv6 /64. "
            "Peers on this machine are not counted here, but on the local socket, where each user counts as a network."
        ),
    )
    memory: Size = attrs.field(
        default=Size(32 * 1024**2),
        metadata=doc(
            "Input and message content that may be in memory over all sessions. Beyond it, who sends ahead is not read "
            "until we have caught up, and content goes to disk as it comes."
        ),
    )
    pipelined_greeting: Switch = attrs.field(
        default=Switch(True),
        metadata=doc(
            "Whether a peer may send on before it has the answer to EHLO or HELO, which RFC 2920 forbids and old "
            "scripts do. What is sent ahead of the answer to DATA, STARTTLS or AUTH is always refused (554)."
        ),
    )
    banner_delay: Duration | None = attrs.field(
        default=None,
        metadata=doc(
            "How long peers on other machines wait for the banner. Who speaks before it is refused (554): real mail "
            "servers wait, many senders of spam do not."
        ),
    )
    stop_time: Duration = attrs.field(
        default=Duration(30.0),
        metadata=doc("How long transactions that have begun may go on once the server is told to stop."),
    )


@attrs.frozen
class DirectorySettings:
    """Where hosts, users and aliases are, and who may log in (AUTH). [The directory](directory.md) tells more."""

    source: Source = attrs.field(
        default=Source("file"),
        metadata=doc(
            "`file`: the `[whitelist]` and `[hosts]` of this file say who receives mail, the file `users` who may log "
            "in. `database`: both are in the database, for all nodes; `mailagent host`, `user` and `alias` change it, "
            "and every node sees it within seconds."
        ),
    )
    url: Url | None = attrs.field(
        default=None,
        metadata=doc('That database, with `source = "database"`; written as `queue.url` is.', shown="`queue.url`"),
    )
    users: ConfiguredPath | None = attrs.field(
        default=None,
        metadata=doc(
            "The users file, one user a line as in Dovecot's passwd-file; `mailagent user` writes it, and a change is "
            "taken up at once. Without it nobody logs in, unless the source is the database."
        ),
    )


@attrs.frozen
class AuthSettings:
    """How logins are taken."""

    plaintext_loopback: Switch = attrs.field(
        default=Switch(False),
        metadata=doc("Whether clients on this machine may log in and send without TLS; nobody else ever may."),
    )
    failures: Count = attrs.field(
        default=Count(10),
        metadata=doc(
            "Failed logins within `failure_window` after which a client's network (IPv4 /32, IPv6 /64; 421) or an "
            "account (454) has to wait. An account's own networks are not shut out of it by others. Of clients on this "
            "machine, where a webmail may stand for many people, only the accounts are counted, apart from all others."
        ),
    )
    failure_window: Duration = attrs.field(default=Duration(600.0), metadata=doc("How long a failed login counts."))
    failure_delay: Duration = attrs.field(
        default=Duration(1.0),
        metadata=doc(
            "How long the first failed login waits for its answer; each further one twice as long, up to 10 s."
        ),
    )


@attrs.frozen
class SubmissionSettings:
    """What users who have logged in may send."""

    own_addresses: Switch = attrs.field(
        default=Switch(True),
        metadata=doc(
            "Whether users may send only as addresses that are theirs; other senders are refused (550 5.7.1)."
        ),
    )


@attrs.frozen
class Config:
    """All settings, checked. C{source} is the file's absolute path, or L{BUILT_IN}; it is not a setting."""

    hostname: Domain = attrs.field(
        factory=machine_name,
        metadata=doc("The name we greet with and put into trace fields.", shown="this machine's fully qualified name"),
    )
    whitelist: WhitelistSettings = attrs.field(factory=WhitelistSettings)
    hosts: Mapping[Domain, HostSettings] = attrs.field(factory=dict)
    mailboxes: MailboxSettings = attrs.field(factory=MailboxSettings)
    state: ConfiguredPath = attrs.field(
        default=ConfiguredPath("state"),
        metadata=doc(
            "The directory for what the server keeps between runs: its self-signed certificate, its process's number.",
            shown="`$STATE_DIRECTORY`, else `state` beside the mailboxes",
        ),
    )
    workers: Workers = attrs.field(
        default=Workers(1),
        metadata=doc(
            "How many processes serve the listeners. With 1 the server is one process; with more, that one owns the "
            "queue and looks after the others. [Workers](workers.md) tells more."
        ),
    )
    listen: tuple[Listener, ...] = attrs.field(default=(Listener(),))
    tls: TlsSettings = attrs.field(factory=TlsSettings)
    limits: Limits = attrs.field(factory=Limits)
    directory: DirectorySettings = attrs.field(factory=DirectorySettings)
    auth: AuthSettings = attrs.field(factory=AuthSettings)
    submission: SubmissionSettings = attrs.field(factory=SubmissionSettings)
    queue: QueueSettings = attrs.field(factory=QueueSettings)
    relay: RelaySettings = attrs.field(factory=RelaySettings)
    routes: Mapping[Pattern, RouteSettings] = attrs.field(factory=dict)
    source: str = attrs.field(default=BUILT_IN)


def not_settings(cls: type[Any]) -> frozenset[str]:
    """The fields of a schema class that are no settings: they never come from a file."""
    return frozenset({"source"}) if cls is Config else frozenset()


def settings(cls: type[Any]) -> list[attrs.Attribute[Any]]:
    """The fields of a schema class that are settings, in order, their types resolved."""
    omitted = not_settings(cls)
    return [field for field in attrs.fields(attrs.resolve_types(cls)) if field.name not in omitted]
