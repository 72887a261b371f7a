"""Postfix and Exim as L{bench.servers} wants them: quick where that costs no safety, with their defaults otherwise."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.processes import await_port
from bench.servers import ALL_USERS, HOST, CannotStart, Running, Start, aiosmtpd, mailagent, start_sink
from tests import programs
from tests.peers.relays import MASTER_CF
from tests.peers.server import DEADLINE, Server, free_port

_MAIN_CF = """compatibility_level = 3.6
in_flow_delay = 0
smtpd_forbid_bare_newline = yes
smtpd_peername_lookup = no
smtp_tls_security_level = none
message_size_limit = 104857600
smtpd_recipient_limit = 1000
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file_prefixes = {home}
maillog_file = {home}/log
myhostname = bench.example
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = hostmeister.de, hostgator.com
virtual_mailbox_base = {home}/mailboxes
virtual_mailbox_maps = texthash:{home}/etc/users
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
"""
_VIRTUAL = "virtual unix - n n - - virtual\n"

_EXIM_CONF = """exim_path = {program}
spool_directory = {home}/spool
log_file_path = {home}/spool/%slog
pid_file_path = {home}/exim.pid
primary_hostname = bench.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
keep_environment =
timezone = UTC
tls_advertise_hosts =
deliver_drop_privilege
domainlist ours = hostmeister.de : hostgator.com
hostlist relay_from_hosts = 127.0.0.0/8
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = recipients

begin acl
recipients:
  accept domains = +ours
         verify = recipient
  accept domains = !+ours
         hosts = +relay_from_hosts
  deny

begin routers
elsewhere:
  driver = manualroute
  domains = !+ours
  route_list = * 127.0.0.1
  self = send
  transport = smtp
users:
  driver = accept
  local_parts = lsearch;{home}/users
  transport = maildir

begin transports
smtp:
  driver = smtp
  port = {sink}
maildir:
  driver = appendfile
  directory = {home}/mailboxes/$local_part_data
  maildir_format
  create_directory
  envelope_to_add
  return_path_add
  user = {user}
"""


def postfix(home: Path, stack: ExitStack, own: str = "") -> Running:
    """Postfix with C{virtual}, its own delivery to Maildirs.

    @raise CannotStart: it is not there, or this is not root.
    """
    program = programs.find("postfix")
    if program is None or os.geteuid() != 0:
        raise CannotStart("only root can start Postfix" if program else "it is not installed")
    sink = start_sink(home, stack)
    assert sink is not None
    for name in ("etc", "queue", "data", "mailboxes"):
        (home / name).mkdir()
    owner, port = pwd.getpwnam("nobody"), free_port()
    shutil.chown(home / "data", "postfix")
    shutil.chown(home / "mailboxes", owner.pw_uid)
    main_cf = _MAIN_CF.format(home=home, sink=sink.port, uid=owner.pw_uid, gid=owner.pw_gid)
    (home / "etc/main.cf").write_text(main_cf)
    (home / "etc/master.cf").write_text(MASTER_CF.format(own_port=port) + _VIRTUAL)
    (home / "etc/users").write_text("".join(f"{user}@{HOST} {user}/\n" for user in ALL_USERS))
    command = [program, "-c", str(home / "etc")]
    server = Server([*command, "start-fg"], home)
    stack.callback(server.end)
    stack.callback(subprocess.run, [*command, "abort"], capture_output=True, timeout=DEADLINE, check=False)
    await_port(port)
    asked = subprocess.run(["postconf", "-c", str(home / "etc"), "-h", "mail_version"], capture_output=True, text=True)
    return Running("Postfix", asked.stdout.strip(), server.pid, port, home / "mailboxes", sink, main_cf)


def exim(home: Path, stack: ExitStack, own: str = "") -> Running:
    """Exim. It does not wait for its delivery processes, so that their processor time is lost.

    @raise CannotStart: it or its user is not there, or this is not root.
    """
    program = programs.find("exim4")
    if program is None or os.geteuid() != 0:
        raise CannotStart("only root can start Exim" if program else "it is not installed")
    try:
        user = pwd.getpwnam("Debian-exim").pw_name
    except KeyError:
        raise CannotStart("there is no user Debian-exim") from None
    sink = start_sink(home, stack)
    for name in ("spool", "mailboxes"):
        (home / name).mkdir()
        shutil.chown(home / name, user)
    port = free_port()
    (home / "users").write_text("".join(f"{name}: {name}\n" for name in ALL_USERS))
    text = _EXIM_CONF.format(home=home, program=program, port=port, sink=sink.port if sink else 1, user=user)
    (home / "exim.conf").write_text(text)
    server = Server([program, "-C", str(home / "exim.conf"), "-bdf", "-q1m"], home)
    stack.callback(server.end)
    await_port(port)
    told = subprocess.run([program, "-bV"], capture_output=True, text=True).stdout
    found = re.search(r"version (\S+)", told)
    its_version = found[1] if found else "?"
    return Running("Exim", its_version, server.pid, port, home / "mailboxes", sink, text, pace=0.1, all_cpu=False)


#: By their names on the command line.
SERVERS: dict[str, Start] = {"mailagent": mailagent, "postfix": postfix, "exim": exim, "aiosmtpd": aiosmtpd}
