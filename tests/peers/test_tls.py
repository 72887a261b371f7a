"""TLS over real sockets: other people's clients, scanners, and those who send ahead."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
import stat
import subprocess
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from pathlib import Path

import pytest
from OpenSSL import SSL

from tests import programs
from tests.peers.conftest import StartServer
from tests.peers.mail import new
from tests.peers.server import DEADLINE, LOOPBACK, Server
from tests.peers.test_clients import ANN, USER1, run
from tests.smtp.certificates import write_pair

CONFIGURATION = """
hostname = "mx.example"
whitelist = {{ hosts = ["hostmeister.de"], users = ["user1"] }}
directory = {{ users = "users" }}
[[listen]]
endpoint = "{loopback}"
role = "{role}"
"""


def trusting(ca: str | Path | None) -> ssl.SSLContext:
    """A client's context that believes C{ca} alone, or everybody."""
    context = ssl.create_default_context(cafile=ca)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def start_role(start_server: StartServer, tmp_path: Path) -> StartServer:
    """Start a server whose listener has a role."""

    def start(role: str) -> Server:
        (tmp_path / "mailagent.toml").write_text(CONFIGURATION.format(role=role, loopback=LOOPBACK))
        return start_server(listen="")

    return start


def test_starttls_works_without_configuration_and_says_so_in_the_trace(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "state" / "self-signed.pem"
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        client.starttls(context=trusting(None))
        assert client.sendmail(ANN, [USER1], "Subject: x\n\nhi\n") == {}
    (message,) = new(server.mailboxes / "user1")
    assert b"with ESMTPS id" in message
    assert b"TLSv1.3 with cipher TLS_AES_" in message
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    assert stat.S_IMODE(own.parent.stat().st_mode) == 0o711


def test_the_self_signed_certificate_is_made_once_and_can_be_trusted(start_server: StartServer, tmp_path: Path) -> None:
    own = tmp_path / "state" / "self-signed.pem"
    made: list[bytes] = []
    for _ in range(2):
        server = start_server("--hostname", "localhost")
        with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
            client._host = "localhost"  # type: ignore[attr-defined]  # the name to be verified
            client.starttls(context=trusting(own))
        server.stop()
        made.append(own.read_bytes())
    assert made[0] == made[1]


def test_commands_sent_ahead_of_the_handshake_do_not_survive_it(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as plain:
        banner = plain.makefile("rb")
        banner.readline()
        plain.sendall(b"EHLO ahead\r\n")
        while banner.readline()[3:4] == b"-":
            pass
        plain.sendall(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<injected@plain>\r\nRCPT TO:<par")
        reply = banner.readline()
        if reply.startswith(b"220"):
            with trusting(None).wrap_socket(plain) as encrypted:
                encrypted.sendall(b"MAIL FROM:<a@b>\r\nQUIT\r\n")
                answers = encrypted.makefile("rb").read().splitlines()
            assert [answer[:3] for answer in answers] == [b"503", b"221"]
        else:  # to refuse it is as good
            assert reply[:1] in (b"4", b"5")
    assert not server.events("recipient_accepted")


def test_who_closes_its_direction_with_its_last_words_gets_the_replies(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as plain:
        for words in (b"EHLO x\r\n", b"STARTTLS\r\n"):
            plain.recv(1024)
            plain.sendall(words)
        assert plain.recv(1024).startswith(b"220")
        plain.settimeout(None)  # pyOpenSSL knows no timeouts
        encrypted = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
        encrypted.set_connect_state()
        encrypted.do_handshake()
        encrypted.sendall(f"EHLO x\r\nMAIL FROM:<{ANN}>\r\nRCPT TO:<{USER1}>\r\nDATA\r\n".encode())
        said = b""
        while b"354 " not in said:
            said += encrypted.recv(1024)
        encrypted.sendall(b"Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n")
        encrypted.shutdown()
        plain.shutdown(socket.SHUT_WR)
        with suppress(SSL.ZeroReturnError):
            while True:
                said += encrypted.recv(1024)
    assert [line[:9] for line in said.splitlines()[-2:]] == [b"250 2.0.0", b"221 2.0.0"]


@pytest.mark.requires("openssl")
def test_openssl_meets_tls_from_the_first_octet_and_the_demand_for_a_login(start_role: StartServer) -> None:
    server = start_role("submissions")
    command = [programs.path("openssl"), "s_client", "-quiet", "-ign_eof", "-connect", f"127.0.0.1:{server.port}"]
    said = run(command, b"EHLO x\r\nMAIL FROM:<a@b>\r\nQUIT\r\n")
    assert said.startswith("220 mx.example")
    assert "STARTTLS" not in said
    assert "530 5.7.0 Authentication required" in said


def test_a_submission_asks_for_tls_then_for_the_login(start_role: StartServer) -> None:
    server = start_role("submission")
    with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@b>") == (530, b"5.7.0 Must issue a STARTTLS command first")
        client.starttls(context=trusting(None))
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@b>") == (530, b"5.7.0 Authentication required")


@pytest.mark.requires("sslscan")
@pytest.mark.parametrize("role", ["mx", "submissions"])
def test_sslscan_finds_nothing_weak(start_role: StartServer, tmp_path: Path, role: str) -> None:
    server = start_role(role)
    report = tmp_path / "report.xml"
    how = ["--starttls-smtp"] if role == "mx" else []
    run([programs.path("sslscan"), *how, f"--xml={report}", f"127.0.0.1:{server.port}"])
    found = ElementTree.parse(report).getroot()
    enabled = {
        f"{each.get('type')} {each.get('version')}" for each in found.iter("protocol") if each.get("enabled") == "1"
    }
    assert enabled == {"tls 1.2", "tls 1.3"}
    ciphers = {(each.get("cipher") or "", each.get("strength")) for each in found.iter("cipher")}
    assert len(ciphers) >= 6
    for cipher, strength in ciphers:
        assert cipher.startswith(("TLS_", "ECDHE-")), cipher
        assert "GCM" in cipher or "CHACHA20" in cipher, cipher
        assert strength in ("strong", "acceptable"), cipher
    assert [each.get("supported") for each in found.iter("compression")] in ([], ["0"])
    assert [each.get("secure") for each in found.iter("renegotiation")] in ([], ["0"], ["1"])
    assert not any(each.get("vulnerable") == "1" for each in found.iter("heartbleed"))


@pytest.mark.torture
@pytest.mark.requires("testssl")
@pytest.mark.parametrize("role", ["mx", "submissions"])
def test_testssl_finds_nothing_vulnerable(start_role: StartServer, tmp_path: Path, role: str) -> None:
    server = start_role(role)
    report = tmp_path / "report.json"
    how = ["-t", "smtp"] if role == "mx" else []
    checks = ["--protocols", "--std", "--pfs", "--vulnerable"]
    command = [programs.path("testssl"), "--warnings", "off", "--quiet", *how, *checks, "--jsonfile", str(report)]
    subprocess.run([*command, f"127.0.0.1:{server.port}"], capture_output=True, timeout=250, check=False)
    findings = {each["id"]: each for each in json.loads(report.read_text())}
    assert {"TLS1_3", "heartbleed", "ROBOT", "PFS"} - set(findings) == set()
    fine = ("OK", "INFO", "WARN")  # it warns of its own limits
    bad = {name: each["finding"] for name, each in findings.items() if each["severity"] not in fine}
    assert bad == {}


@pytest.mark.requires("openssl")
def test_each_name_asked_for_gets_its_certificate(start_server: StartServer, tmp_path: Path) -> None:
    hosts = ["mx.example", "other.example"]
    main, other = (write_pair(tmp_path, host) for host in hosts)
    (tmp_path / "mailagent.toml").write_text(
        CONFIGURATION.format(role="mx", loopback=LOOPBACK)
        + f'[tls]\ncertificate = "{main.certificate}"\nkey = "{main.key}"\n'
        + f'[tls.hosts."other.example"]\ncertificate = "{other.certificate}"\nkey = "{other.key}"\n'
    )
    server = start_server(listen="")
    for name in hosts:
        command = [programs.path("openssl"), "s_client", "-starttls", "smtp", "-servername", name]
        done = subprocess.run(
            [*command, "-connect", f"127.0.0.1:{server.port}"],
            input=b"QUIT\r\n",
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        assert f"subject=CN = {name}".encode() in done.stdout
    assert not (tmp_path / "state" / "self-signed.pem").exists()


def test_a_certificate_that_cannot_be_used_ends_the_start_with_one_line(
    start_server: StartServer, tmp_path: Path
) -> None:
    one, other = write_pair(tmp_path, "a.example"), write_pair(tmp_path, "b.example")
    (tmp_path / "mailagent.toml").write_text(
        CONFIGURATION.format(role="mx", loopback=LOOPBACK)
        + f'[tls]\ncertificate = "{one.certificate}"\nkey = "{other.key}"\n'
    )
    server = start_server(listen="")
    assert server.wait() == 1
    assert server.errors == f"mailagent: {other.key}: not the key of the certificate in {one.certificate}\n"


def test_a_state_directory_that_cannot_be_made_ends_the_start_with_one_line(start_server: StartServer) -> None:
    server = start_server("--state", "/proc/state")
    assert server.wait() == 1
    assert server.errors == "mailagent: state: /proc/state: No such file or directory\n"
