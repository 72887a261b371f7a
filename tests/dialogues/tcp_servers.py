"""Servers on loopback for every conversation, all in one process, until standard input ends.

Writes their ports by name, as JSON, on one line; C{tls:} and the name is one that offers STARTTLS. Wire and reactor are
real; mailboxes and clock are in memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from mailagent.smtp.proxied import Proxies
from mailagent.smtp.tls import CertificatePlan, ServerTLS, read
from tests.dialogues.play import dialogues
from tests.smtp.certificates import write_pair


def main() -> None:
    """Listen, tell, run."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    tls = ServerTLS(reactor.seconds)
    with tempfile.TemporaryDirectory() as directory:
        tls.use(read(CertificatePlan(write_pair(Path(directory), "mx.example.org"))))
    ports = {}
    for dialogue in dialogues():
        if dialogue.local:
            for name, offered in ((dialogue.name, None), (f"tls:{dialogue.name}", tls)):
                server = dialogue.server(offered)
                listener = server.factory.listener(server.role, Proxies.of(["127.0.0.1"] if dialogue.xclient else []))
                ports[name] = reactor.listenTCP(0, listener, interface="127.0.0.1").getHost().port
    print(json.dumps(ports), flush=True)

    def wait_for_end() -> None:
        sys.stdin.read()
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=wait_for_end, daemon=True).start()
    reactor.run()


if __name__ == "__main__":
    main()
