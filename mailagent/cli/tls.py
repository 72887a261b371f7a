"""C{mailagent tls}: certificates."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import click

from mailagent.config.schema import machine_name
from mailagent.config.values import domain
from mailagent.smtp.self_signed import self_signed as make
from mailagent.state import write_new


@click.group()
def tls() -> None:
    """Certificates for TLS."""


def _domain(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    try:
        return domain(value) if value is not None else machine_name()
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a domain name") from None


@tls.command("self-signed")
@click.option("--hostname", metavar="NAME", callback=_domain, help="The server's name. Default: this machine's.")
@click.option("--certificate", metavar="FILE", default="certificate.pem", show_default=True, help="To be made.")
@click.option("--key", metavar="FILE", default="key.pem", show_default=True, help="To be made, with mode 0600.")
def self_signed(hostname: str, certificate: str, key: str) -> None:
    """Make a self-signed certificate and its key (ECDSA P-256, ten years).

    Nothing is overwritten. A server without a configured certificate makes one for itself.
    """
    made = make(hostname, datetime.now(UTC))
    try:
        _write(certificate, key, *made)
    except OSError as error:
        path = error.filename2 or error.filename
        raise click.ClickException(f"{path}: {error.strerror}; nothing was made") from None
    click.echo(f'[tls]\ncertificate = "{os.path.abspath(certificate)}"\nkey = "{os.path.abspath(key)}"')


def _write(certificate: str, key: str, certificate_pem: bytes, key_pem: bytes) -> None:
    """Make both files or none."""
    write_new(key, key_pem)
    try:
        write_new(certificate, certificate_pem, mode=0o644)
    except BaseException:
        os.unlink(key)
        raise
