"""The grammar of SMTP commands: RFC 5321 section 4.1, with the UTF-8 of RFC 6531.

Pure functions from octets to values. Whatever the octets, they return a value or raise L{SyntaxFault}
with the reply to send; nothing else escapes.

The grammar is that of the RFC but for these tolerances, which real senders need:

  - white space after the colon of C{MAIL FROM:} and C{RCPT TO:} (old Outlook, many scripts and devices);
  - white space at the end of a line (RFC 5321 section 4.1.1 asks for it);
  - underscores in domains (host names of Windows networks; Postfix and Exim take them);
  - in HELO and EHLO, brackets around what is no address (nothing is decided by that name, RFC 5321 section 4.1.4).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

import attrs

from mailagent.envelope.address import MAX_DOMAIN, MAX_LOCAL_PART, Address
from mailagent.envelope.reply import Reply
from mailagent.smtp.verbs import HTTP_VERBS, VERBS, Verb

#: Octets, RFC 5321 section 4.5.3.1.3.
MAX_PATH = 256

_U = "\x80-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_U}-]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED_STRING = rf'"(?:[ !#-\[\]-~{_U}]|\\[ -~])*"'
_SUB_DOMAIN = rf"[A-Za-z0-9_{_U}](?:[A-Za-z0-9_{_U}-]*[A-Za-z0-9_{_U}])?"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
_LITERAL = r"\[[!-Z^-~]+\]"
_MAILBOX = re.compile(rf"(?P<local>{_DOT_STRING}|{_QUOTED_STRING})@(?P<domain>{_DOMAIN}|{_LITERAL})\Z")
_SOURCE_ROUTE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")
# The path ends at the first ">" outside a quoted string.
_PATH_ARGUMENT = re.compile(rf"<(?P<path>(?:[^\s<>\"]|{_QUOTED_STRING})*)>(?P<parameters>(?:[ \t].*)?)\Z")
_PARAMETER = re.compile(rf"(?P<keyword>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~{_U}]+))?\Z")
_HELO_NAME = re.compile(rf"(?:{_DOMAIN}|{_LITERAL})\Z", re.ASCII)
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")  # RFC 4422 section 3.1
_TAGGED_LITERAL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?:[!-Z^-~]+\Z")


class SyntaxFault(Exception):
    """The client's octets are not what the grammar asks for; C{reply} says so."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


@attrs.frozen
class Command:
    """One command line: its verb, or C{None} for a word that is none, and the octets after it."""

    verb: Verb | None
    argument: bytes
    is_http: bool = False


def parse_command(line: bytes) -> Command:
    """Split a line (without its CRLF) into verb and argument."""
    word, _, argument = line.rstrip(b" \t").partition(b" ")
    name = word.decode("ascii", "replace").upper()
    return Command(VERBS.get(name), argument.strip(b" \t"), name in HTTP_VERBS)


def parse_helo(argument: bytes) -> str:
    """The name a client gives in HELO or EHLO: a domain or an address literal.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    name = _decode(argument, _bad_argument("HELO and EHLO take your host's name or address literal"))
    if not name.isascii() or len(name) > MAX_DOMAIN or not _HELO_NAME.match(name):
        raise SyntaxFault(_bad_argument("HELO and EHLO take your host's name or address literal"))
    return name


def parse_mail(argument: bytes) -> tuple[Address | None, Mapping[str, str | None]]:
    """The argument of MAIL: reverse-path (C{None} for C{<>}) and parameters, keywords in upper case.

    @raise SyntaxFault: C{501 5.5.4} or C{501 5.1.7}.
    """
    path, parameters = _path_argument(argument, "FROM:", "Syntax: MAIL FROM:<address>")
    if not path:
        return None, parameters
    return _mailbox(path, Reply(501, "5.1.7", "Bad sender address syntax")), parameters


def parse_rcpt(argument: bytes) -> tuple[Address, Mapping[str, str | None]]:
    """The argument of RCPT: forward-path and parameters, keywords in upper case.

    C{<postmaster>}, in any case, may stand without a domain (RFC 5321 section 4.1.1.3).

    @raise SyntaxFault: C{501 5.5.4} or C{501 5.1.3}.
    """
    path, parameters = _path_argument(argument, "TO:", "Syntax: RCPT TO:<address>")
    if path.lower() == "postmaster":
        return Address(path, ""), parameters
    return _mailbox(path, Reply(501, "5.1.3", "Bad recipient address syntax")), parameters


def parse_vrfy(argument: bytes) -> str:
    """The text that VRFY or EXPN asks about, its parameter still behind it.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    if not argument:
        raise SyntaxFault(_bad_argument("This command takes an argument"))
    return _decode(argument, _bad_argument("Not UTF-8"))


def parse_bdat(argument: bytes) -> tuple[int, bool]:
    """The argument of BDAT (RFC 3030 section 2): the chunk's octets, and whether it is the last.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    found = re.match(rb"([0-9]{1,20})(?:[ \t]+(LAST))?\Z", argument, re.IGNORECASE)
    if found is None:
        raise SyntaxFault(_bad_argument("Syntax: BDAT octets [LAST]"))
    return int(found[1]), found[2] is not None


def parse_address(text: str) -> Address:
    """A mailbox address as a person or a program writes it, without angle brackets.

    @raise SyntaxFault: C{501 5.1.3}.
    """
    return _mailbox(text, Reply(501, "5.1.3", "Bad address syntax"))


def parse_size(value: str | None) -> int:
    """The value of the SIZE parameter (RFC 1870 section 6): up to 20 digits.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    if value is None or not re.match(r"[0-9]{1,20}\Z", value):
        raise SyntaxFault(_bad_argument("SIZE takes a number of octets"))
    return int(value)


def parse_body(value: str | None) -> str:
    """The value of the BODY parameter (RFC 6152): C{"7BIT"} or C{"8BITMIME"}.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        raise SyntaxFault(_bad_argument("BODY takes 7BIT or 8BITMIME"))
    return value.upper()


def parse_auth(argument: bytes) -> tuple[str, bytes | None]:
    """The argument of AUTH (RFC 4954 section 4): the mechanism in upper case, and the initial response, still in
    base64 (C{b""} for the C{=} that stands for an empty one), or C{None}.

    @raise SyntaxFault: C{501 5.5.4}.
    """
    words = argument.split()
    if not 1 <= len(words) <= 2 or not _MECHANISM.fullmatch(words[0].decode("ascii", "replace")):
        raise SyntaxFault(_bad_argument("Syntax: AUTH mechanism [initial-response]"))
    initial = words[1] if len(words) == 2 else None
    return words[0].decode("ascii").upper(), b"" if initial == b"=" else initial


def _bad_argument(text: str) -> Reply:
    return Reply(501, "5.5.4", text)


def _decode(octets: bytes, reply: Reply) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxFault(reply) from None


def _path_argument(argument: bytes, keyword: str, usage: str) -> tuple[str, Mapping[str, str | None]]:
    text = _decode(argument, _bad_argument(usage))
    if text[: len(keyword)].upper() != keyword:
        raise SyntaxFault(_bad_argument(usage))
    found = _PATH_ARGUMENT.match(text[len(keyword) :].lstrip(" \t"))
    if found is None:
        raise SyntaxFault(_bad_argument(usage))
    return found["path"], _parameters(found["parameters"])


def _parameters(text: str) -> Mapping[str, str | None]:
    parameters: dict[str, str | None] = {}
    for word in re.findall(r"[^ \t]+", text):
        found = _PARAMETER.match(word)
        if found is None:
            raise SyntaxFault(_bad_argument("Bad parameter syntax"))
        keyword = found["keyword"].upper()
        if keyword in parameters:
            raise SyntaxFault(_bad_argument(f"{keyword} given twice"))
        parameters[keyword] = found["value"]
    return parameters


def _mailbox(path: str, reply: Reply) -> Address:
    route = _SOURCE_ROUTE.match(path)
    found = _MAILBOX.match(path, route.end() if route else 0)
    if found is None or len(path.encode()) + 2 > MAX_PATH:
        raise SyntaxFault(reply)
    local, domain = found["local"], found["domain"]
    if len(local.encode()) > MAX_LOCAL_PART or len(domain.encode()) > MAX_DOMAIN:
        raise SyntaxFault(reply)
    if domain.startswith("[") and not _is_literal(domain[1:-1]):
        raise SyntaxFault(reply)
    address = Address(_unquoted(local), domain)
    try:
        _ = address.host  # whoever is to write to it, or to report to it, will need that
    except ValueError:
        raise SyntaxFault(reply) from None
    return address


def _unquoted(local: str) -> str:
    return re.sub(r"\\(.)", r"\1", local[1:-1]) if local.startswith('"') else local


def _is_literal(text: str) -> bool:
    """Whether C{text} is an IPv4, IPv6 or tagged address literal's inside (RFC 5321 section 4.1.3)."""
    try:
        if text[:5].upper() == "IPV6:":
            ipaddress.IPv6Address(text[5:])
            return "%" not in text
        ipaddress.IPv4Address(text)
    except ValueError:
        return text[:5].upper() != "IPV6:" and _TAGGED_LITERAL.match(text) is not None
    return True
