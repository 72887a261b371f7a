"""Options that several commands share."""

from __future__ import annotations

import click

from mailagent.config import Config, ConfigError, load

config_option = click.option(
    "--config",
    "-c",
    metavar="FILE",
    help="Configuration file (else ./mailagent.toml, else /etc/mailagent/mailagent.toml).",
)


def configuration(path: str | None) -> Config:
    """The configuration a server would start with.

    @raise click.ClickException: it is wrong; all that is wrong is in the message.
    """
    try:
        return load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
