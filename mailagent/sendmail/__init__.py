"""C{sendmail}, the command by which programs on this machine send: reading a message, and handing it on."""
