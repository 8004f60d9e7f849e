"""A TCP endpoint as operators write it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HostPort"]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP endpoint given by name or address, as ``127.0.0.1:9559``, ``[::1]:9559`` or ``switch1:9559``."""

    host: str
    """Host name or address, without brackets."""
    port: int
    """TCP port, 1..65535."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
