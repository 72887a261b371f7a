"""mailagent: a mail transfer agent on Twisted that delivers into directories."""

__version__ = "0.1.0"
