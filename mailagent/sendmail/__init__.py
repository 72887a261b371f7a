"""C{sendmail}, the command by which programs on this machine send: what it reads, and how it hands that to the server."""
