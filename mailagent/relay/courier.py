"""Delivery to other hosts: what the queue hands over goes to its next hop, as routes and the DNS have it now.

What counts as the word on a message, and what does not:

  - A refusal before MAIL (no connection, banner, EHLO, STARTTLS, AUTH, certificate) says nothing about the message,
    even with a 5yz. The next address is tried; after the last the recipients are deferred, and the destination is held
    (not for a message with REQUIRETLS: others may go).
  - From MAIL on, a server's 5yz is final. A 4yz for every recipient has the next host tried, once: it may know better.
    Not so where the connection went once content was on its way: the message may have been taken, and a copy is enough.
  - An idle session that turns out to have ended says nothing: its server is asked again, in a new one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailagent.config import Config
from mailagent.dns.resolver import Resolver
from mailagent.envelope.outcome import Hop, Outcome
from mailagent.envelope.reply import Reply
from mailagent.interfaces import Attempt, Attempted, ICourier, StorageFailed, StorageFull
from mailagent.relay.connections import Connections
from mailagent.relay.destination import Destination, Destinations
from mailagent.relay.mx import Shuffle, Unroutable
from mailagent.relay.next_hop import NextHop, next_hop
from mailagent.relay.ourselves import Ourselves
from mailagent.relay.routes import route_for
from mailagent.relay.sessions import Sessions
from mailagent.smtp.outgoing_content import blocks_of
from mailagent.smtp.replies import LOCAL_ERROR
from mailagent.smtp.sender import Sender
from mailagent.smtp.sending_failed import SendingFailed, TransactionRefused

#: Recipients of one transaction (RFC 5321 section 4.5.3.1.8), where the server does not take fewer.
_MOST_RECIPIENTS = 100
#: Seconds for which nothing more is asked about a domain of which the DNS tells nothing.
_DNS_HOLD = 60.0
#: Our own word, where a server does not take REQUIRETLS (RFC 8689 section 4.2.1): another may.
_NO_REQUIRETLS = "5.7.30"


@implementer(ICourier)
class Courier:
    """Takes messages to other hosts.

    @param config: the configuration, now.
    @param shuffle: puts a list in random order.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        clock: IReactorTime,
        resolver: Resolver,
        ourselves: Ourselves,
        sessions: Sessions,
        shuffle: Shuffle,
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._ourselves = ourselves
        self._sessions = sessions
        self._shuffle = shuffle
        self._destinations = Destinations(clock, lambda: config().relay)
        self._connections = Connections(clock, lambda: config().relay)

    def deliver(self, attempt: Attempt) -> Deferred[Attempted]:
        """See L{ICourier.deliver}."""
        return Deferred.fromCoroutine(self._deliver(attempt))

    def close(self) -> Deferred[list[None]]:
        """Close the connections that wait for more to do; fires when they are."""
        return self._connections.close()

    async def _deliver(self, attempt: Attempt) -> Attempted:
        try:
            hop = await self._next_hop(attempt)
        except Unroutable as error:
            hold = _DNS_HOLD if error.reply.transient else 0.0
            return Attempted(_outcomes(attempt, error.reply), hold)
        destination = self._destinations.at(hop.destination)
        await destination.enter(attempt.urgent)
        try:
            return await _Delivery(attempt, hop, destination, self._sessions, self._connections).run()
        finally:
            destination.leave()

    async def _next_hop(self, attempt: Attempt) -> NextHop:
        config = self._config()
        route = route_for(attempt.destination, config.routes, config.relay)
        require_tls = attempt.envelope.insists_on_tls
        return await next_hop(route, attempt.destination, require_tls, self._resolver, self._ourselves, self._shuffle)


@attrs.define
class _Delivery:
    """One attempt on its way from server to server."""

    _attempt: Attempt
    _hop: NextHop
    _destination: Destination
    _sessions: Sessions
    _connections: Connections
    _deferred: tuple[Outcome, ...] = attrs.field(default=(), init=False)
    _asked: str = attrs.field(default="", init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _lost: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _unreached: tuple[Hop, Reply] | None = attrs.field(default=None, init=False)

    async def run(self) -> Attempted:
        """Go from server to server until there is a word on the message, or no server left."""
        sender = await self._connections.take(self._hop.destination, self._attempt.destination)
        if sender is not None:
            outcomes = await self._ask(sender)
            if self._ended:
                self._deferred, self._asked, self._ended = (), "", False
            elif outcomes:
                return Attempted(outcomes)
        for host, address in self._hop.addresses():
            if host == self._asked:
                continue
            sender = await self._open(host, address)
            if sender is not None and (outcomes := await self._ask(sender)):
                return Attempted(outcomes)
        if self._deferred:
            return Attempted(self._deferred)
        assert self._unreached is not None  # there is at least one address
        hop, reply = self._unreached
        # What fails for a message's own demand says nothing about the others'.
        hold = 0.0 if self._attempt.envelope.insists_on_tls else self._destination.failed()
        return Attempted(_outcomes(self._attempt, reply, hop), hold)

    async def _open(self, host: str, address: str) -> Sender | None:
        try:
            return await self._sessions.open(self._hop, host, address)
        except SendingFailed as failure:
            said = failure.reply is not None  # else the words are ours
            self._unreached = Hop(host if said else "", address), failure.deferral
            return None

    async def _ask(self, sender: Sender) -> tuple[Outcome, ...]:
        """What a server says of the message; nothing, where another is to be asked."""
        try:
            outcomes = await self._submit(sender)
        finally:
            self._connections.give(self._hop.destination, sender)
        if not (self._lost or self._ended):
            self._destination.did_well()
        if self._deferred or self._lost or not all(map(_another_may_know_better, outcomes)):
            return outcomes
        self._deferred, self._asked = outcomes, sender.hop.host
        return ()

    async def _submit(self, sender: Sender) -> tuple[Outcome, ...]:
        """One transaction, or several where the server takes few recipients in one (LIMITS, RFC 9422)."""
        envelope = self._attempt.envelope
        most = min(sender.limits.recipients or _MOST_RECIPIENTS, _MOST_RECIPIENTS)
        outcomes: tuple[Outcome, ...] = ()
        for start in range(0, len(envelope.recipients), most):
            some = envelope
            if len(envelope.recipients) > most:
                some = attrs.evolve(envelope, recipients=envelope.recipients[start : start + most])
            try:
                outcomes += await sender.submit(some, self._content(), self._attempt.still_ours)
            except SendingFailed as failure:
                outcomes += failure.outcomes
                gone = not isinstance(failure, TransactionRefused)
                self._lost |= gone and self._begun
                self._ended = gone and not self._begun
            except (StorageFailed, StorageFull):
                if not outcomes:
                    raise
                # What the first transactions have achieved stands; the message cannot be read for the others now.
                return outcomes + tuple(Outcome(recipient, LOCAL_ERROR) for recipient in envelope.recipients[start:])
        return outcomes

    async def _content(self) -> AsyncIterator[bytes]:
        """The message, and a note that it was asked for."""
        self._begun = True
        async with aclosing(blocks_of(self._attempt.content())) as blocks:
            async for block in blocks:
                yield block


def _another_may_know_better(outcome: Outcome) -> bool:
    return outcome.deferred or outcome.reply.status == _NO_REQUIRETLS


def _outcomes(attempt: Attempt, reply: Reply, hop: Hop | None = None) -> tuple[Outcome, ...]:
    return tuple(Outcome(recipient, reply, hop or Hop()) for recipient in attempt.envelope.recipients)
