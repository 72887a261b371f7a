"""The examples in C{etc/examples}: each is sound to the program it is for, and they agree with each other."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from mailagent.config import Config, load
from mailagent.config.values import DATABASE
from tests import programs
from tests.packaging.test_units import INSTALLED, SERVICE, SOCKET, analyze, unit
from tests.peers.server import DEADLINE, ROOT, TWISTD

EXAMPLES = ROOT / "etc" / "examples"
THREE_NODES, COMPOSE = EXAMPLES / "three-nodes", EXAMPLES / "compose"
DROP_IN = THREE_NODES / "mailagent.service.d" / "three-nodes.conf"
BOTH = pytest.mark.parametrize("example", [THREE_NODES, COMPOSE], ids=lambda path: path.name)


def configuration(example: Path) -> Config:
    return load(str(example / "mailagent.toml"))


def compose() -> Any:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


def nodes() -> dict[str, Any]:
    """The services of the compose file that are ours."""
    return {name: service for name, service in compose()["services"].items() if service.get("image") == "mailagent"}


def backends(example: Path) -> dict[str, tuple[str, int]]:
    """Where the balancer finds each node."""
    found = re.findall(r"^\s+server (\S+) (\S+):(\d+)$", (example / "haproxy.cfg").read_text(), re.MULTILINE)
    return {name: (host, int(port)) for name, host, port in found}


@BOTH
def test_a_configuration_is_one_for_a_shared_queue_behind_a_balancer_that_is_believed_and_may_not_relay(
    example: Path,
) -> None:
    config = configuration(example)
    (listener,) = config.listen
    assert sa.make_url(config.queue.url).get_backend_name() == "postgresql"
    assert sa.make_url(config.queue.url).password is None
    assert len(listener.proxies) == 1
    assert not config.relay.networks


def test_three_nodes_have_one_directory() -> None:
    config = configuration(THREE_NODES)
    assert config.directory.source == DATABASE
    added = re.findall(r"mailagent host add (\S+)", (ROOT / "docs" / "scaling.md").read_text())
    assert set(added) == set(config.routes)


def test_the_role_may_connect_as_often_as_three_nodes_of_sixteen_workers_do() -> None:
    limit = re.search(r"CONNECTION LIMIT (\d+)", (THREE_NODES / "database.sql").read_text())
    assert limit is not None
    assert 3 * (8 + 16) < int(limit[1]) < 97  # of the 100 that PostgreSQL has by default, three are its administrator's


def test_the_database_is_named_with_all_hosts_and_the_primary_is_asked_for_under_verified_tls() -> None:
    url = sa.make_url(configuration(THREE_NODES).queue.url)
    _, arguments = url.get_dialect()().create_connect_args(url)
    assert len(arguments["host"].split(",")) == len(arguments["port"].split(",")) == 2
    assert (arguments["target_session_attrs"], arguments["sslmode"]) == ("read-write", "verify-full")


@BOTH
@pytest.mark.requires("haproxy")
def test_haproxy_takes_its_configuration(example: Path) -> None:
    command = [programs.path("haproxy"), "-c", "-f", str(example / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.requires("doveconf")
def test_dovecot_takes_its_configuration(tmp_path: Path) -> None:
    copy = tmp_path / "dovecot.conf"
    copy.write_text(re.sub(r"<\S+", "none", (THREE_NODES / "dovecot.conf").read_text()))  # the files are nobody's
    command = [programs.path("doveconf"), "-n", "-c", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    where = re.search(r"address = (\S+)\s+port = (\d+)", done.stdout)
    assert where is not None
    (route,) = configuration(THREE_NODES).routes.values()
    assert route.to == f"lmtp:{where[1]}:{where[2]}"


@pytest.mark.requires("systemd-analyze")
def test_systemd_takes_the_unit_with_its_drop_in(tmp_path: Path) -> None:
    drop_ins = tmp_path / "mailagent.service.d"
    drop_ins.mkdir()
    for path, target in ((SERVICE, tmp_path), (SOCKET, tmp_path), (DROP_IN, drop_ins)):
        (target / path.name).write_text(path.read_text().replace(INSTALLED, str(TWISTD)))
    done = analyze("verify", "--recursive-errors=no", str(tmp_path / SERVICE.name))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_drop_in_leaves_the_listeners_to_the_configuration_which_takes_the_socket() -> None:
    start = unit(DROP_IN)["Service"]["ExecStart"]
    assert unit(SERVICE)["Service"]["ExecStart"].startswith(f"{start} --listen ")
    (listener,) = configuration(THREE_NODES).listen
    assert listener.endpoint == f"systemd:domain=INET6:name={unit(SOCKET)['Socket']['FileDescriptorName']}"


def test_the_compose_file_names_files_and_volumes_that_are_there() -> None:
    document = compose()
    assert len(nodes()) == 3
    for service in document["services"].values():
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            assert (COMPOSE / source).is_file() if source.startswith(".") else source in document["volumes"]
        if build := service.get("build"):
            assert (COMPOSE / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()


def test_nodes_of_the_compose_file_share_mailboxes_and_nothing_of_their_state() -> None:
    mounts = {
        name: {target: source for source, target, *_ in (volume.split(":") for volume in service["volumes"])}
        for name, service in nodes().items()
    }
    config = configuration(COMPOSE)
    assert len({service["hostname"] for service in nodes().values()}) == 3
    assert len({mount[config.state] for mount in mounts.values()}) == 3
    assert len({mount[config.mailboxes.path] for mount in mounts.values()}) == 1


def test_the_balancer_of_the_compose_file_is_who_is_believed_and_finds_the_nodes() -> None:
    document = compose()
    address = document["services"]["balancer"]["networks"]["mail"]["ipv4_address"]
    (listener,) = configuration(COMPOSE).listen
    assert list(listener.proxies) == [address]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(
        document["networks"]["mail"]["ipam"]["config"][0]["subnet"]
    )
    port = int(listener.endpoint.partition(":")[2])
    assert backends(COMPOSE) == {name: (name, port) for name in nodes()}


def test_the_image_is_made_of_files_that_are_there_and_that_are_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    ignored = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
    assert sources
    assert [source for source in sources if not (ROOT / source).exists() or f"!{source}" not in ignored] == []
