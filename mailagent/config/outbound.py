"""The settings of mail that goes elsewhere: the queue, its delivery, its routes (see L{mailagent.config.schema})."""

from __future__ import annotations

import attrs

from mailagent.config.meaning import doc
from mailagent.config.values import (
    ConfiguredPath,
    Count,
    Destination,
    Duration,
    Network,
    Port,
    Rate,
    Security,
    Server,
    Text,
    Url,
)


@attrs.frozen
class QueueSettings:
    """Where mail for elsewhere waits, how often it is tried, and when we give up. [The queue](queue.md) tells more."""

    url: Url = attrs.field(
        default=Url("sqlite:///queue.db"),
        metadata=doc(
            "The database, as SQLAlchemy names it. A relative SQLite file is in the state directory; PostgreSQL is for "
            "[many nodes](queue.md#on-postgresql), and its password is better in a file of its own."
        ),
    )
    deliveries: Count = attrs.field(
        default=Count(200), metadata=doc("Messages that may be on their way out at the same time.")
    )
    lease: Duration = attrs.field(
        default=Duration(60.0),
        metadata=doc(
            "Of several nodes with one database: how long this one may be silent until the others take up what it has "
            "in hand. Within half as much again they do. At least 1 s."
        ),
    )
    retry_first: Duration = attrs.field(
        default=Duration(300.0),
        metadata=doc("How long a deferred message waits for its second attempt; each further wait is twice as long."),
    )
    retry_most: Duration = attrs.field(
        default=Duration(14400.0), metadata=doc("The longest wait between two attempts.")
    )
    delay_notice: Duration = attrs.field(
        default=Duration(14400.0),
        metadata=doc("How long a message may be delayed before its sender is told, once (RFC 3461)."),
    )
    give_up: Duration = attrs.field(
        default=Duration(432000.0),
        metadata=doc("How long a message is tried before it is returned (RFC 5321 section 4.5.4.1: 4 to 5 days)."),
    )
    keep: Duration = attrs.field(
        default=Duration(604800.0),
        metadata=doc("How long the history of a message that has left the queue is kept. Its content is not."),
    )


@attrs.frozen
class RelaySettings:
    """How mail goes elsewhere. [Mail to other hosts](relay.md) tells more."""

    networks: tuple[Network, ...] = attrs.field(
        default=(),
        metadata=doc("Whose clients may send to any host without a login. Name only networks that are yours."),
    )
    resolver: Server | None = attrs.field(
        default=None, metadata=doc("The DNS server.", shown="the system's, of `/etc/resolv.conf`")
    )
    port: Port = attrs.field(default=Port(25), metadata=doc("The port of other hosts' mail servers."))
    tls: Security = attrs.field(
        default=Security("may"),
        metadata=doc(
            "Where no route says otherwise: `may` uses STARTTLS where it works, `require` insists on it, `verify` also "
            "on a certificate for the server's name."
        ),
    )
    authorities: ConfiguredPath | None = attrs.field(
        default=None, metadata=doc("A file of PEM certificates that are trusted instead of the system's.")
    )
    connect_time: Duration = attrs.field(
        default=Duration(30.0), metadata=doc("How long a server may take to answer a connection.")
    )
    connections: Count = attrs.field(
        default=Count(20),
        metadata=doc(
            "Connections from this node to one destination (one set of mail servers) at the same time; it begins with "
            "few. No more messages than that, nor than 20, are on their way to one domain from all nodes together."
        ),
    )
    messages_per_connection: Count = attrs.field(
        default=Count(100), metadata=doc("Messages sent over one connection before a new one is made.")
    )
    messages_per_minute: Count | None = attrs.field(
        default=None,
        metadata=doc(
            "Messages from this node to one destination (one set of mail servers, for however many domains) in a "
            "minute. Divide a provider's limit [by the number of nodes](scaling.md#limits-over-all-nodes).",
            shown="no limit",
        ),
    )
    rate: Rate | None = attrs.field(
        default=None,
        metadata=doc(
            "Messages to one domain in a time, from all nodes together, evenly spread. Domains with the same mail "
            "servers are counted apart.",
            shown="no limit",
        ),
    )


@attrs.frozen
class RouteSettings:
    """Another way for a domain than its MX. The longest matching domain wins: `partner.example` is that host alone,
    `.partner.example` all below it, `*` everything."""

    to: Destination = attrs.field(
        default=Destination("mx"),
        metadata=doc(
            "`smtp:host:port` is that server (its MX is not asked), `lmtp:host:port` or `lmtp:unix:/path` an LMTP "
            "server, `mx` the domain's own MX."
        ),
    )
    tls: Security | None = attrs.field(
        default=None, metadata=doc("As `relay.tls`, for this route.", shown="`relay.tls`")
    )
    rate: Rate | None = attrs.field(
        default=None, metadata=doc("As `relay.rate`, for each domain of this route.", shown="`relay.rate`")
    )
    user: Text | None = attrs.field(
        default=None, metadata=doc("Who logs in there. A password goes over verified TLS only, but on loopback.")
    )
    password_file: ConfiguredPath | None = attrs.field(
        default=None,
        metadata=doc("A file with the password in its first line; others may not read it, nor the group write it."),
    )
