"""What twistd finds: ``twistd mailagent`` (the server) and ``twistd mailclient`` (the client)."""

from twisted.application.service import ServiceMaker

mailagent = ServiceMaker(
    "mailagent",
    "mailagent.tap",
    "A mail transfer agent: mail for a whitelist lands in directories.",
    "mailagent",
)
mailclient = ServiceMaker(
    "mailclient", "mailagent.clienttap", "Compose a message at the terminal and send it.", "mailclient"
)
