"""C{mailagent}: the command for those who run the server. Wiring only: each command is in a module of its own."""
