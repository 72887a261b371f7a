"""The session's replies, and the reply an exception carries."""

from __future__ import annotations

from twisted.logger import Logger
from twisted.mail.smtp import SMTPServerError
from twisted.python.failure import Failure

from mailagent import log as events
from mailagent.envelope.reply import Reply
from mailagent.smtp.command_buffer import LineFault

OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
BYE = Reply(221, "2.0.0", "Bye")
NOT_VERIFIED = Reply(252, "2.0.0", "Not verified here; send it and see")
START_CONTENT = Reply(354, "", "End with <CRLF>.<CRLF>")
START_TLS = Reply(220, "2.0.0", "Go ahead with TLS")
IDLE = Reply(421, "4.4.2", "Idle for too long, closing")
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down, try again later")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing")
BROKEN = Reply(421, "4.3.0", "Local error, closing")
SESSION_TOO_LONG = Reply(421, "4.7.0", "The session has lasted too long, closing")
TOO_MANY_COMMANDS = Reply(421, "4.7.0", "Too many commands in one session, closing")
NOT_HTTP = Reply(421, "4.7.0", "This is SMTP, closing")
NO_XCLIENT = Reply(550, "5.7.0", "XCLIENT is not for you")
OUT_OF_STEP = Reply(554, "5.5.0", "You did not wait for the answer (RFC 2920), closing")
LOCAL_ERROR = Reply(451, "4.3.0", "Local error in processing, try again later")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients, send the rest in another transaction")
TOO_MANY_RECIPIENTS_HERE = Reply(452, "4.5.3", "Too many recipients in this session, send the rest in another")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "Message header too large")
TOO_MANY_HOPS = Reply(554, "5.4.6", "Too many hops: the message is going in a circle")
TOO_LARGE = Reply(552, "5.3.4", "Message too large")
BARE_LINE_END = Reply(550, "5.5.2", "Bare <CR> or <LF> in the message; lines end with <CR><LF>")
UNKNOWN_COMMAND = Reply(500, "5.5.2", "Unknown command")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
NO_ARGUMENT = Reply(501, "5.5.4", "This command takes no argument")
NO_SUCH_TOPIC = Reply(504, "5.5.4", "No help on that")
LOGGED_IN = Reply(235, "2.7.0", "Logged in")
LOGIN_FAILED = Reply(535, "5.7.8", "Wrong name or password")
LOGIN_UNAVAILABLE = Reply(454, "4.7.0", "Logins cannot be checked now, try again later")
LOGIN_CANCELLED = Reply(501, "5.7.0", "Cancelled")
LOGGED_IN_ALREADY = Reply(503, "5.5.1", "Logged in already")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Mechanism not known here")
MALFORMED_RESPONSE = Reply(501, "5.5.2", "Not base64, or not what the mechanism asks for")
RESPONSE_TOO_LONG = Reply(500, "5.5.6", "Response too long")
TLS_NEEDED = Reply(538, "5.7.11", "Passwords are taken over TLS only; say STARTTLS first")
UTF8_NEEDED = Reply(553, "5.6.7", "A non-ASCII address needs the parameter SMTPUTF8")
LINE_ENDS_FOR_CHUNKS = Reply(501, "5.5.4", "BDAT counts octets: end each line with <CR><LF>")

LINE_FAULTS = {
    LineFault.TOO_LONG: Reply(500, "5.5.2", "Command line too long"),
    LineFault.BARE_LF: Reply(500, "5.5.2", "Bare <LF>: end each line with <CR><LF> (try nc -C)"),
    LineFault.BARE_CR: Reply(500, "5.5.2", "Bare <CR> in a command"),
    LineFault.FLOOD: TOO_MANY_ERRORS,
}


def unknown_parameter(keyword: str) -> Reply:
    """The refusal of an ESMTP parameter that no offered extension defines (RFC 5321 section 4.1.1.11)."""
    return Reply(555, "5.5.4", f"Parameter {keyword} not known")


def reply_for(failure: Failure) -> Reply:
    """The reply a failed decision is answered with.

    A delivery says what it means with C{SMTPServerError} (C{SMTPBadRcpt} and C{SMTPBadSender} among it);
    any other exception is trouble on our side, and that is 4xx.
    """
    error = failure.value
    if not isinstance(error, SMTPServerError) or not 400 <= error.code < 600:
        return LOCAL_ERROR
    text: str | bytes = error.resp
    return Reply.read(error.code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)


def answer(failure: Failure, what: str, log: Logger) -> Reply:
    """The same; trouble on our side is also logged, as met while doing C{what}."""
    reply = reply_for(failure)
    if reply is LOCAL_ERROR:
        events.ERROR(log, what=what, reason=repr(failure.value))
    return reply


def with_status(reply: Reply) -> Reply:
    """The reply with a status on it (RFC 2034 asks one of every 2yz, 4yz and 5yz), general where it had none."""
    if reply.status or reply.code // 100 == 3:
        return reply
    return Reply(reply.code, f"{reply.code // 100}.0.0", reply.text)
