"""twistd finds both plugins however mailagent was installed, and what was installed works away from the checkout."""

from __future__ import annotations

import smtplib
from pathlib import Path

import pytest

from tests.packaging.conftest import Environment, Servers, run
from tests.peers.mail import NASTY, content, lines_crlf, new
from tests.peers.server import DEADLINE, Server


def install(environment: Environment, tree: Path, how: str) -> None:
    """Install C{tree} in one of the ways people do."""
    pip = ["-m", "pip", "install", "--quiet", "--no-deps"]
    if how == "wheel":
        environment.python("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tree / "dist", tree)
        environment.python(*pip, *(tree / "dist").glob("mailagent-*.whl"))
    elif how == "editable":
        environment.python(*pip, "--editable", tree)
    else:
        environment.python(*pip, tree)


def assert_serves(server: Server) -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        client.sendmail("ann@example.org", ["user1@hostmeister.de"], lines_crlf(NASTY), ["BODY=8BITMIME"])
    (message,) = new(server.mailboxes / "user1")
    assert content(message, NASTY) == NASTY


@pytest.mark.parametrize("how", ["plain", "editable", "wheel"])
def test_the_plugins_are_found_and_work(
    clean: Environment, clone: Path, elsewhere: Path, servers: Servers, how: str
) -> None:
    assert "mailagent" not in run(clean.twistd("--help"), elsewhere)
    install(clean, clone, how)
    commands = {line.split()[0] for line in run(clean.twistd("--help"), elsewhere).splitlines() if line.split()}
    assert {"mailagent", "mailclient"} <= commands
    assert "--mailboxes" in run(clean.twistd("mailagent", "--help"), elsewhere)
    assert "--to" in run(clean.twistd("mailclient", "--help"), elsewhere)
    assert "reload" in clean.python("-m", "mailagent", "--help", cwd=elsewhere)
    server = servers.start(clean)
    assert_serves(server)
    server.stop()


def test_a_wheel_holds_the_package_and_the_plugin_and_nothing_else(clean: Environment, clone: Path) -> None:
    clean.python("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", clone / "dist", clone)
    (wheel,) = (clone / "dist").glob("mailagent-*.whl")
    names = clean.python("-m", "zipfile", "--list", wheel).splitlines()[1:]
    files = {line.split()[0] for line in names}
    plugins = {name for name in files if name.startswith("twisted/")}
    assert plugins == {"twisted/plugins/mailagent_plugin.py"}, "a __init__.py there would hide Twisted's own"
    assert "mailagent/py.typed" in files
    assert {name.split("/")[0].partition("-")[0] for name in files} == {"mailagent", "twisted"}
