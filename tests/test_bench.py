"""The measurements run; what they show is for a quiet machine, and not judged here."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.peers.server import DEADLINE, ROOT, environment


@pytest.mark.parametrize("state", ["", "--ehlo", "--tls"])
def test_idle_connections_are_measured_and_the_next_client_is_served(state: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.idle_connections", "--connections", "50", *state.split()],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert "stored after" in ran.stdout, ran.stderr


def test_the_cost_of_the_queue_is_measured() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.queue_cost", "--queued", "1", "20", "--rounds", "2"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ran.stdout.count(" ms ") == 2 * 6, ran.stderr


@pytest.mark.requires("smtp-sink", "initdb")
def test_nodes_on_one_postgresql_are_measured() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.nodes", "--nodes", "2", "--messages", "10", "--rounds", "1"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
    )
    assert ran.stdout.count("\n|") == 3, ran.stderr


@pytest.mark.requires("smtp-sink")
def test_a_message_beside_a_dead_destination_is_timed() -> None:
    # Whatever it comes to: the exit status is for a quiet machine.
    ran = subprocess.run(
        [sys.executable, "-m", "bench.dead_destination", "--queued", "0", "20", "--rounds", "2", "--kinds", "refusing"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert ran.stdout.count(" ms |") == 2 * 2, ran.stderr


@pytest.mark.requires("smtp-source", "smtp-sink")
def test_a_round_of_deliveries_and_one_of_relaying_are_measured() -> None:
    few = "--work new-connection,relay --peers none --rounds 1 --messages 20"
    ran = subprocess.run(
        [sys.executable, "-m", "bench", *few.split()],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
    )
    assert ran.stdout.count("\n| mailagent ") == 2, ran.stdout + ran.stderr
