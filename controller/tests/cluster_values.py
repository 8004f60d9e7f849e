"""Flows and settings that the cluster's tests share."""

from __future__ import annotations

from depot.address import Endpoint, FlowKey, Protocol
from depot.cluster.settings import PeerSettings
from depot.cluster.wire import AddressFamily, ConnectionAction, ConnectionRun, encode_connection, key_of

__all__ = ["flow_number", "install_message", "peer_settings", "remove_message"]

_SERVERS = (Endpoint(0xFFFF << 32 | 0xC000020A, 80), Endpoint(0x20010DB8 << 96 | 0x80, 443))
_CLIENTS = (0xFFFF << 32 | 0x0A000000, 0x20010DB8 << 96 | 0xFF << 32)


def flow_number(number: int) -> FlowKey:
    """A flow of its own for every number; every fourth is IPv6, every third UDP."""
    family = number % 4 == 3
    protocol = Protocol.UDP if number % 3 == 2 else Protocol.TCP
    return FlowKey.between(Endpoint(_CLIENTS[family] + number, 1024 + number % 50000), _SERVERS[family], protocol)


def _message(installs: bool, number: int) -> ConnectionRun:
    data = encode_connection(installs, ConnectionAction.FORWARD, key_of(flow_number(number)), False)
    return ConnectionRun(AddressFamily.IPV4 if len(data) == 16 else AddressFamily.IPV6, data)


def install_message(number: int) -> ConnectionRun:
    """One INSTALL_CONNECTION."""
    return _message(True, number)


def remove_message(number: int) -> ConnectionRun:
    """One REMOVE_CONNECTION."""
    return _message(False, number)


def peer_settings(identity: str, **values: float | None) -> PeerSettings:
    """Settings with the times of the defaults, or others."""
    return PeerSettings(identity, **values)  # type: ignore[arg-type]
