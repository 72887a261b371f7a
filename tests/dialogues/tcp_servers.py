"""A server on loopback for every conversation, all in one process, until standard input ends.

Writes their ports by name, as JSON, on one line. Wire and reactor are real; mailboxes and clock are in memory.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from tests.dialogues.play import dialogues


def main() -> None:
    """Listen, tell, run."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    ports = {}
    for dialogue in dialogues():
        if dialogue.local:
            server = dialogue.server()
            ports[dialogue.name] = (
                reactor.listenTCP(0, server.factory.listener(server.role), interface="127.0.0.1").getHost().port
            )
    print(json.dumps(ports), flush=True)

    def wait_for_end() -> None:
        sys.stdin.read()
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=wait_for_end, daemon=True).start()
    reactor.run()


if __name__ == "__main__":
    main()
