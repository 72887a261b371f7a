"""Other people's clients, each made to send one message to one of our listeners, over TLS and logged in as that asks.

Over TLS they believe one file of certificates only, and those that can look at the name in it as well. A client returns
once the server has taken the message, and raises L{NotSent} with all it said otherwise.
"""

from __future__ import annotations

import os
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Sequence
from enum import Enum

import attrs

from tests import programs
from tests.peers.mail import lines_crlf
from tests.peers.server import DEADLINE, TWISTD, environment

HOST = "localhost"


class Security(Enum):
    """When TLS begins."""

    NEVER = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@attrs.frozen
class Target:
    """Where a client shall send, and how.

    @ivar ca: the file of the only certificate to be believed.
    @ivar login: name and password, where the listener asks for them.
    """

    port: int
    security: Security
    ca: str
    login: tuple[str, str] | None = None


@attrs.frozen
class Mail:
    """One message in its envelope; lines end with LF."""

    sender: str
    recipient: str
    content: bytes

    @property
    def beyond_ascii(self) -> bool:
        return not (self.sender + self.recipient).isascii()


Client = Callable[[Target, Mail], None]


class NotSent(Exception):
    """A client could not send, and says why."""


def _run(command: Sequence[str], stdin: bytes = b"", **changes: str) -> None:
    done = subprocess.run(
        command, input=stdin, capture_output=True, timeout=DEADLINE, env=environment(**changes), check=False
    )
    if done.returncode != 0:
        raise NotSent((done.stdout + done.stderr).decode())


def python_smtplib(target: Target, mail: Mail) -> None:
    """Python's own."""
    trusting = ssl.create_default_context(cafile=target.ca)
    options = ["BODY=8BITMIME"] + ["SMTPUTF8"] * mail.beyond_ascii
    try:
        with (
            smtplib.SMTP_SSL(HOST, target.port, timeout=DEADLINE, context=trusting)
            if target.security is Security.IMPLICIT
            else smtplib.SMTP(HOST, target.port, timeout=DEADLINE)
        ) as client:
            if target.security is Security.STARTTLS:
                client.starttls(context=trusting)
            if target.login:
                client.login(*target.login)
            client.sendmail(mail.sender, [mail.recipient], lines_crlf(mail.content), options)
    except OSError as error:  # what TLS and smtplib raise is one
        raise NotSent(str(error)) from error


def swaks(target: Target, mail: Mail) -> None:
    """The tester's knife. Of the certificate it does not look at the name."""
    command = [programs.path("swaks"), "--server", f"{HOST}:{target.port}", "--from", mail.sender]
    command += ["--to", mail.recipient, "--data", "-"]
    if target.security is not Security.NEVER:
        command += ["--tls" if target.security is Security.STARTTLS else "--tls-on-connect"]
        command += ["--tls-verify", "--tls-ca-path", target.ca]
    if target.login:
        name, password = target.login
        command += ["--auth", "--auth-user", name, "--auth-password", password]
    _run(command, mail.content.removesuffix(b"\n"))  # it ends the last line itself


def msmtp(target: Target, mail: Mail) -> None:
    """What many call sendmail; its TLS is GnuTLS."""
    command = [programs.path("msmtp"), "--file=/dev/null", f"--host={HOST}", f"--port={target.port}"]
    command += [f"--from={mail.sender}"]
    if target.security is Security.NEVER:
        command += ["--tls=off"]
    else:
        starttls = "on" if target.security is Security.STARTTLS else "off"
        command += ["--tls=on", f"--tls-starttls={starttls}", f"--tls-trust-file={target.ca}"]
    if target.login:
        name, password = target.login
        command += ["--auth=on", f"--user={name}", f"--passwordeval=echo '{password}'"]
    _run([*command, mail.recipient], mail.content)


def curl(target: Target, mail: Mail) -> None:
    """The library in everything."""
    scheme = "smtps" if target.security is Security.IMPLICIT else "smtp"
    command = [programs.path("curl"), "--silent", "--show-error", "--mail-from", mail.sender]
    command += ["--mail-rcpt", mail.recipient, "--upload-file", "-"]
    if target.security is not Security.NEVER:
        command += ["--ssl-reqd", "--cacert", target.ca]
    if target.login:
        command += ["--user", ":".join(target.login)]
    url = f"{scheme}://{HOST}:{target.port}/client.example.org"
    _run([*command, url], lines_crlf(mail.content), LC_ALL="C.UTF-8")


_NODEMAILER = """
const fs = require("fs");
const [port, security, ca, user, pass, from, to] = process.argv.slice(1);
const transport = require("nodemailer").createTransport({
    host: "localhost", port: +port, tls: { ca: fs.readFileSync(ca) },
    secure: security == "implicit", requireTLS: security == "starttls", ignoreTLS: security == "none",
    auth: user ? { user, pass } : undefined,
});
transport.sendMail({ envelope: { from, to }, raw: fs.readFileSync(0) }).catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
"""
#: Where Debian's packages for Node.js are.
_NODE_PATH = "/usr/share/nodejs"


def nodemailer(target: Target, mail: Mail) -> None:
    """What web applications send with."""
    if not os.path.isdir(f"{_NODE_PATH}/nodemailer"):
        programs.absent("nodemailer")
    name, password = target.login or ("", "")
    words = [str(target.port), target.security.value, target.ca, name, password, mail.sender, mail.recipient]
    _run([programs.path("node"), "-e", _NODEMAILER, *words], lines_crlf(mail.content), NODE_PATH=_NODE_PATH)


def mailclient(target: Target, mail: Mail) -> None:
    """Our own, which makes the header itself: the content is its text."""
    command = [str(TWISTD), "mailclient", "--server", f"{HOST}:{target.port}", "--tls", target.security.value]
    command += ["--tls-ca", target.ca, "--from", mail.sender, "--to", mail.recipient]
    if target.login:
        name, password = target.login
        command += ["--user", name, "--password-command", f"echo '{password}'"]
    _run(command, mail.content)
