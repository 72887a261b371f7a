"""On a node's path first: it gives signs of life every second, and thinks others dead after four without any.

A test of what a dead node leaves would else take minutes.
"""

from mailagent.queue import store_nodes

store_nodes.DEAD = 4.0

from mailagent.queue import scheduler  # noqa: E402 (it takes what it finds there)

scheduler.HEARTBEAT, scheduler.ADOPT = 1.0, 1.0
