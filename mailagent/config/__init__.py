"""Configuration: one TOML file, read once into frozen values.

L{load} gives a L{Config} in which every value is possible and every name leads somewhere, or raises
L{ConfigError} with all that is wrong, one line for each mistake, its path and what is allowed there.
C{python -m mailagent.config} prints the reference.
"""

from mailagent.config.outbound import QueueSettings, RelaySettings, RouteSettings
from mailagent.config.problems import ConfigError
from mailagent.config.schema import (
    BUILT_IN,
    AuthSettings,
    CertificateSettings,
    Config,
    DirectorySettings,
    HostSettings,
    Limits,
    Listener,
    MailboxSettings,
    SubmissionSettings,
    TlsSettings,
    WhitelistSettings,
)
from mailagent.config.source import SEARCH, Overrides, load
from mailagent.config.values import user_key

__all__ = [
    "BUILT_IN",
    "SEARCH",
    "AuthSettings",
    "CertificateSettings",
    "Config",
    "ConfigError",
    "DirectorySettings",
    "HostSettings",
    "Limits",
    "Listener",
    "MailboxSettings",
    "Overrides",
    "QueueSettings",
    "RelaySettings",
    "RouteSettings",
    "SubmissionSettings",
    "TlsSettings",
    "WhitelistSettings",
    "load",
    "user_key",
]
