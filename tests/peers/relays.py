"""Other people's MTAs, Postfix and Exim, each with its own configuration and queue, relaying all there is to one port.

Both insist on STARTTLS. As another server they do not look at the certificate; as a user of a submission listener
(L{Account}) they verify it and log in. Both run parts of theirs as other users, who must get into their directory:
pytest's own will not do for root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs

from tests import programs
from tests.peers.server import DEADLINE, Server, await_listener, free_port

SENDER = "ann@example.org"
RECIPIENT = "user1@hostmeister.de"

_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = /dev/stdout
myhostname = relay.example
mydestination =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [localhost]:{port}
smtp_host_lookup = native
smtp_tls_security_level = {security}
# so that the log tells whether it pipelines
debug_peer_list = 127.0.0.1
debug_peer_level = 1
"""

_MAIN_CF_LOGIN = """
smtp_tls_secure_cert_match = nexthop
smtp_tls_CAfile = {account.ca}
smtp_tls_loglevel = 1
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ {{ [localhost]:{port} = {account.name}:{account.password} }} }}
# Cyrus SASL, below Postfix, refuses SCRAM with more than 65,536 rounds
smtp_sasl_mechanism_filter = plain
smtp_sasl_tls_security_options = noanonymous
"""

#: Postfix's services, with the port of its own listener to be filled in; it delivers nothing itself.
MASTER_CF = """
127.0.0.1:{own_port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""

_EXIM_CONF = """
exim_path = {program}
spool_directory = {home}/spool
log_file_path = {home}/spool/%slog
primary_hostname = relay.example
keep_environment =
timezone = UTC
deliver_drop_privilege
local_from_check = false
untrusted_set_sender = *
acl_not_smtp = accept
log_selector = +pipelining +tls_cipher
{user}
{more}

begin routers
all:
  driver = manualroute
  route_list = * {host}
  self = send
  transport = smtp

begin transports
smtp:
  driver = smtp
  port = {port}
  hosts_require_tls = *
  hosts_try_chunking = {chunking}
{login}
"""

# The rest of the transport, then another section.
_EXIM_CONF_LOGIN = """
  tls_verify_certificates = {account.ca}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *
  hosts_require_auth = *

begin authenticators
login:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{account.name}^{account.password}
"""


@attrs.frozen
class Account:
    """What a relay logs in with.

    @ivar ca: the file of the only certificate to be believed.
    """

    name: str
    password: str
    ca: str


def submit(port: int, messages: Iterable[bytes], sender: str = SENDER, *options: str, notify: str = "") -> None:
    """Hand messages over to a relay."""
    wishes = [notify] if notify else []
    with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
        for message in messages:
            octets = message.replace(b"\n", b"\r\n")
            assert client.sendmail(sender, [RECIPIENT], octets, ["BODY=8BITMIME", *options], wishes) == {}


@attrs.frozen
class Postfix:
    """A Postfix that runs. What it logs is its process's output.

    @ivar port: where it takes mail.
    """

    _command: list[str]
    process: Server
    port: int

    @classmethod
    def start(
        cls, home: Path, port: int, account: Account | None = None, *, main: str = "", master: str = ""
    ) -> Postfix:
        """Start one below C{home}, which relays to C{port}.

        @param main: more settings; C{master}: more services, with C{{own_port}} for the port of the first.
        """
        if os.geteuid() != 0:
            programs.absent("right to start Postfix, which is root's alone")
        if account and not any(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
            programs.absent("Debian package libsasl2-modules")
        for name in ("etc", "queue", "data"):
            (home / name).mkdir()
        shutil.chown(home / "data", "postfix")
        own_port = free_port()
        login = _MAIN_CF_LOGIN.format(account=account, port=port) if account else ""
        security = "secure" if account else "encrypt"
        (home / "etc/main.cf").write_text(_MAIN_CF.format(home=home, port=port, security=security) + login + main)
        (home / "etc/master.cf").write_text((MASTER_CF + master).format(own_port=own_port))
        command = [programs.path("postfix"), "-c", str(home / "etc")]
        process = Server([*command, "start-fg"], home)
        process.wait_for_output("daemon started")
        return cls(command, process, own_port)

    def stop(self) -> None:
        """End it, its many processes included."""
        subprocess.run([*self._command, "abort"], capture_output=True, timeout=DEADLINE, check=True)
        self.process.wait()


@attrs.frozen
class Exim:
    """An Exim that runs when it is asked to.

    @ivar spool: its queue, and its log C{mainlog}.
    """

    command: list[str]
    spool: Path

    @classmethod
    def configure(cls, home: Path, port: int, chunking: bool, account: Account | None = None, more: str = "") -> Exim:
        """Make one below C{home}, which relays to C{port}, by BDAT or by DATA. C{more}: further settings."""
        try:
            owner = pwd.getpwnam("Debian-exim").pw_name
        except KeyError:
            programs.absent("user Debian-exim")
        spool, program = home / "spool", programs.path("exim4")
        spool.mkdir()
        user = ""
        if os.geteuid() == 0:
            shutil.chown(spool, owner)
        else:
            user = f"exim_user = {os.geteuid()}\nexim_group = {os.getegid()}"
        login = _EXIM_CONF_LOGIN.format(account=account) if account else ""
        values = {"home": home, "port": port, "program": program, "user": user, "chunking": "*" if chunking else ""}
        host = "localhost byname" if account else "127.0.0.1"  # the certificate's name
        (home / "exim.conf").write_text(_EXIM_CONF.format(**values, host=host, login=login, more=more))
        return cls([program, "-C", str(home / "exim.conf")], spool)

    def relay(self, messages: Iterable[bytes], deadline: float, sender: str = SENDER) -> list[str]:
        """Queue the messages, then send all there are. @return: Exim's log."""
        envelope = f"MAIL FROM:<{sender}>\nRCPT TO:<{RECIPIENT}>\nDATA\n".encode()
        batch = b"".join(envelope + message.replace(b"\n.", b"\n..") + b".\n" for message in messages)
        self._run(["-odq", "-bS"], batch, deadline)
        self._run(["-qq"], b"", deadline)
        return (self.spool / "mainlog").read_text().splitlines()

    def listen(self, home: Path) -> tuple[Server, int]:
        """Have it take mail: its process, and the port."""
        port = free_port()
        process = Server([*self.command, "-bdf", "-oX", f"127.0.0.1.{port}"], home)
        await_listener("127.0.0.1", port, lambda: process.lives)
        return process, port

    def _run(self, options: list[str], octets: bytes, deadline: float) -> None:
        done = subprocess.run(
            [*self.command, *options], input=octets, capture_output=True, timeout=deadline, check=False
        )
        assert done.returncode == 0, done
