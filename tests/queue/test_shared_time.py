"""The time of a queue that is shared: the database's."""

from __future__ import annotations

import time

import pytest
from twisted.internet.task import Clock

from mailagent.queue.shared_time import TOLERATED, SharedTime
from tests.database.support import Database
from tests.deferreds import result
from tests.maildir.support import Events

DAY = 86400.0


class Machine:
    """One whose clock is wrong by so many seconds, and that heard from a database which is right."""

    def __init__(self, database: Database, wrong: float) -> None:
        self.database, self.wrong = database, wrong
        self.events = Events()
        self.clock = Clock()
        self.time = SharedTime(lambda: time.time() + self.wrong, self.clock.seconds, self.events.log)

    def read(self) -> None:
        self.database.read(self.time.read)


@pytest.mark.parametrize("wrong", [-365 * DAY, 365 * DAY])
def test_it_is_the_databases_however_wrong_the_machine_is(database: Database, wrong: float) -> None:
    machine = Machine(database, wrong)
    before = time.time()
    assert abs(machine.time.seconds() - before - wrong) < TOLERATED
    machine.read()
    assert before - 1 <= machine.time.seconds() <= time.time() + 1


def test_it_goes_on_by_the_clock_that_nobody_sets(database: Database) -> None:
    machine = Machine(database, 0.0)
    machine.read()
    began = machine.time.seconds()
    machine.wrong = DAY
    machine.clock.advance(15.0)
    assert machine.time.seconds() == began + 15.0


def test_each_answer_of_a_watched_way_brings_it_along(database: Database) -> None:
    machine = Machine(database, DAY)
    run = machine.time.watched(database.writer.run)
    assert result(run(lambda connection: connection.in_transaction())) is True
    assert abs(machine.time.seconds() - time.time()) < TOLERATED


def test_what_fails_fails_as_before_and_leaves_it(database: Database) -> None:
    machine = Machine(database, DAY)
    with pytest.raises(ZeroDivisionError):
        result(machine.time.watched(database.writer.run)(lambda connection: 1 // 0))
    assert machine.time.seconds() > time.time() + DAY / 2


def test_people_hear_once_of_a_clock_that_is_wrong(database: Database) -> None:
    machine = Machine(database, 0.0)
    machine.read()
    assert machine.events == []
    machine.wrong = DAY
    machine.read()
    machine.read()
    [event] = machine.events
    assert event["event"] == "clock_differs"
    assert abs(event["seconds"] - DAY) < TOLERATED
    machine.wrong = 0.0
    machine.read()
    machine.wrong = -DAY
    machine.read()
    assert len(machine.events) == 2
