"""On a node's path first: it gives signs of life every second, and thinks others dead after four without any.

A test of what a dead node leaves would else take minutes.
"""

from mailagent.queue import scheduler

scheduler.HEARTBEAT, scheduler.ADOPT, scheduler.DEAD = 1.0, 1.0, 4.0
