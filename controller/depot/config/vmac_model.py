"""What an operator asks for of the gateways behind one address, every value already checked and converted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from depot.config.host_port import HostPort
from depot.vmac.hashing import VirtualMacs
from depot.vmac.settings import Algorithm

__all__ = ["DispatchMode", "GatewayConfig", "VmacConfig"]


class DispatchMode(Enum):
    """Who hands the hosts' frames to the gateways."""

    SELF = "self"
    """They do: this depot is one of them, behind an ordinary switch (seed 004, 3.3)."""
    SWITCH = "switch"
    """Our switch does: the gateways are plain hosts behind it."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """``[[vmac.gateway]]``: another gateway, or in mode "switch" one of those behind our switch."""

    name: str
    """Unique name."""
    address: HostPort | None = None
    """Mode "self": where it listens for messages."""
    via: int = 0
    """Mode "switch": its address as a next hop, 128 bit."""
    capacity: float | None = None
    """Mode "switch": packets per second it can take; None: as much as any other."""


@dataclass(frozen=True, slots=True)
class VmacConfig:
    """``[vmac]``: one gateway address, many gateways (seed 004)."""

    addresses: tuple[int, ...]
    """The address that the hosts have as their gateway, 128 bit, one for each family."""
    virtual_macs: VirtualMacs
    """The virtual MACs behind it."""
    ports: tuple[int, ...]
    """The switch's ports in the LAN."""
    switch: str
    """The switch, by name."""
    mode: DispatchMode = DispatchMode.SELF
    """Who dispatches."""
    name: str = ""
    """Mode "self": our name among the gateways."""
    listen: HostPort | None = None
    """Mode "self": where messages of the others arrive, UDP."""
    key: Path = Path()
    """Mode "self": the file with the secret that all gateways share."""
    balancing: Algorithm = Algorithm.BALANCED
    """Which algorithm moves buckets."""
    report_interval: float = 0.5
    """Seconds between two reports of a gateway's load (T_L)."""
    decision_interval: float = 1.0
    """Seconds between two decisions (T_M)."""
    threshold: float = 0.1
    """Difference of two loads, 1 being a whole gateway, above which buckets move (L_D)."""
    subset: int = 4
    """Ring: buckets that move at once (the size of W)."""
    learning_interval: float = 60.0
    """Seconds between two port-learning frames of a virtual MAC; less than switches remember a MAC (300 s)."""
    capacity: float | None = None
    """Mode "self": packets per second that this gateway can take; None: only its CPU says how loaded it is."""
    load_command: tuple[str, ...] = ()
    """Mode "self": a program that prints the load, one number a line, each time it has a new one; empty: CPU and
    packets."""
    gateways: tuple[GatewayConfig, ...] = ()
    """The others; in mode "switch" all of them."""
