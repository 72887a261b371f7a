"""Which certificates the configuration asks for, and the self-signed one that stands in where it names none."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime

from mailagent import state
from mailagent.config import CertificateSettings, Config
from mailagent.envelope.address import canonical_domain
from mailagent.smtp.certificate import CertificateFiles
from mailagent.smtp.self_signed import self_signed
from mailagent.smtp.tls import CertificatePlan

#: One file for both certificate and key, so that it is there whole or not at all.
_SELF_SIGNED = "self-signed.pem"


def plan(config: Config, now: datetime) -> CertificatePlan:
    """The files to read. The self-signed certificate is made where it is needed and missing. Blocks.

    @param now: with its time zone.
    @raise OSError: it cannot be written.
    """
    hosts = {canonical_domain(host): found for host, each in config.tls.hosts.items() if (found := _files(each))}
    return CertificatePlan(_files(config.tls) or _own(config, now), hosts)


def _files(settings: CertificateSettings) -> CertificateFiles | None:
    if settings.certificate is None or settings.key is None:
        return None
    return CertificateFiles(settings.certificate, settings.key)


def _own(config: Config, now: datetime) -> CertificateFiles:
    path = os.path.join(config.state, _SELF_SIGNED)
    if not os.path.exists(path):
        certificate, key = self_signed(config.hostname, now)
        with suppress(FileExistsError):  # another server was faster
            state.write_new(path, key + certificate)
    return CertificateFiles(path, path)
