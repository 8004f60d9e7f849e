"""TLS of the control channels: both ends show a certificate of the cluster's authority, which names the member."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

__all__ = ["TlsContexts", "certified_name"]


class TlsContexts:
    """The contexts for calling and for being called. Raises OSError, ssl.SSLError for files that will not do."""

    def __init__(self, ca: Path, cert: Path, key: Path) -> None:
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        """For calls to peers; who answers is checked by name against the membership list, not against a host name."""
        self.client.check_hostname = False
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """For calls from peers, which must show a certificate too."""
        self.server.verify_mode = ssl.CERT_REQUIRED
        for context in (self.client, self.server):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_verify_locations(ca)
            context.load_cert_chain(cert, key)


def certified_name(transport: asyncio.BaseTransport) -> str | None:
    """Return the common name of the peer's certificate; None without TLS. An empty name is nobody's."""
    certificate = transport.get_extra_info("peercert")
    if certificate is None:
        return None
    for part in certificate.get("subject", ()):
        for field, value in part:
            if field == "commonName":
                return str(value)
    return ""
