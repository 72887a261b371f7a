"""A real DNS server for tests, authoritative for everything, over UDP and TCP on a free port of 127.0.0.1.

Its records are plain: C{{"example.org": {"MX": ["10 mx.example.org."]}, "mx.example.org": {"A": ["127.0.0.2"]}}}.
A name that has none, nor any name below it, does not exist. A CNAME is followed as a resolver would. It can
misbehave, by name.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL, NEGATIVE_TTL = 300, 60
_SOA = f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {NEGATIVE_TTL}"
_MOST_CNAMES = 8

#: Name to type to the records' texts.
Records = Mapping[str, Mapping[str, list[str]]]


@attrs.define
class DNSServer:
    """What it answers, and how it misbehaves; all may be changed while it runs.

    @ivar servfail: names about which it says SERVFAIL.
    @ivar drop: names about which it says nothing.
    @ivar slow: names about which it says nothing until L{go_on} is set.
    @ivar asked: name and type of every question, in order.
    """

    records: Records
    servfail: set[str] = attrs.field(factory=set)
    drop: set[str] = attrs.field(factory=set)
    slow: set[str] = attrs.field(factory=set)
    go_on: threading.Event = attrs.field(factory=threading.Event)
    asked: list[tuple[str, str]] = attrs.field(factory=list)
    port: int = 0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def answer(self, wire: bytes, limit: int = 65535) -> bytes | None:
        """The answer to one question; truncated (TC) over C{limit} octets; C{None} for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.slow:
            self.go_on.wait()
        if name in self.drop:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if name in self.servfail:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, name, kind)
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(_MOST_CNAMES):
            here = self.records.get(name, {})
            followed = "CNAME" if "CNAME" in here and kind != "CNAME" else kind
            if followed in here:
                response.answer.append(dns.rrset.from_text_list(f"{name}.", TTL, "IN", followed, here[followed]))
            if followed == kind:
                break
            name = here["CNAME"][0].rstrip(".").lower()
        if not response.answer or response.answer[-1].rdtype == dns.rdatatype.CNAME:
            response.authority.append(dns.rrset.from_text(".", NEGATIVE_TTL, "IN", "SOA", _SOA))
            if not any(known == name or known.endswith(f".{name}") for known in self.records):
                response.set_rcode(dns.rcode.NXDOMAIN)


class _Datagram(socketserver.BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        wire, sock = self.request
        query = dns.message.from_wire(wire)
        answer = self.server.zones.answer(wire, max(512, query.payload))
        if answer is not None:
            sock.sendto(answer, self.client_address)


class _Stream(socketserver.StreamRequestHandler):
    server: Any

    def handle(self) -> None:
        while len(prefix := self.rfile.read(2)) == 2:
            answer = self.server.zones.answer(self.rfile.read(int.from_bytes(prefix)))
            if answer is None:
                return
            self.wfile.write(len(answer).to_bytes(2) + answer)


class _UDP(socketserver.ThreadingUDPServer):
    daemon_threads = True


class _TCP(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _bind() -> tuple[_UDP, _TCP]:
    """Both on one port, which must be free for both."""
    while True:
        datagrams = _UDP(("127.0.0.1", 0), _Datagram)
        try:
            return datagrams, _TCP(datagrams.server_address, _Stream)
        except OSError:
            datagrams.server_close()


@contextmanager
def serving(records: Records) -> Iterator[DNSServer]:
    """Such a server, as long as the context lasts."""
    zones = DNSServer(records)
    servers = _bind()
    zones.port = servers[0].server_address[1]
    for server in servers:
        server.zones = zones  # type: ignore[union-attr]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield zones
    finally:
        zones.go_on.set()
        for server in servers:
            server.shutdown()
            server.server_close()
