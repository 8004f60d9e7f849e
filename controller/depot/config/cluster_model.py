"""What an operator asks for of the cluster and the access policy, every value already checked and converted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from depot.address import Endpoint, Prefix, Protocol
from depot.config.host_port import HostPort

__all__ = ["BusKind", "ClusterConfig", "EntryMode", "PeerConfig", "PolicyAction", "PolicyConfig", "SteerKind"]


class BusKind(Enum):
    """What the members' messages ride on."""

    MESH = "mesh"
    """A TCP channel between every two members (seed 000, 2.2)."""
    NATS = "nats"
    """A NATS server, for more than some twenty members."""


class EntryMode(Enum):
    """When a peer's connection gets its entry in the switch."""

    LAZY = "lazy"
    """With its first packet that comes here."""
    EAGER = "eager"
    """When the peer announces it."""


class PolicyAction(Enum):
    """What a rule of the access policy does (seed 000, 1.1)."""

    INTERCEPT = "intercept"
    """A proxy takes the connection."""
    BYPASS = "bypass"
    """It passes untouched."""
    DENY = "deny"
    """It is dropped."""


class SteerKind(Enum):
    """Who says which member serves a connection best (seed 000, 3: connection handoff)."""

    AFFINITY = "affinity"
    """The one that served the same client and server last: it has the dictionary."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """``[[cluster.peer]]``: another member."""

    name: str
    """Its name in the cluster."""
    address: HostPort
    """Where it listens; an empty host with NATS, where nobody calls anybody."""
    tunnel: tuple[int, ...]
    """The ends of its tunnels, 128-bit addresses, at most one of a family."""
    keepalive: float = 1.0
    """Seconds without a word to it before a keepalive is sent."""
    misses: int = 3
    """Keepalives that may be missing before it is gone."""
    retries: int | None = None
    """Failed attempts in a row before it is abandoned; None: never."""
    retry_interval: float = 0.25
    """Seconds after the first failed attempt, doubled with each."""
    longest_retry_interval: float = 8.0
    """Where the doubling ends, seconds."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """``[cluster]``: this depot as a member of a cluster (seed 000)."""

    name: str
    """This member's name in the cluster."""
    listen: HostPort
    """Where peers reach our control channel; an empty host with NATS."""
    tunnel: tuple[int, ...]
    """The ends of our tunnels, 128-bit addresses of switch ports, at most one of a family."""
    ca: Path | None = None
    """Certificate authority that signed all members' certificates, PEM; None: plain TCP."""
    cert: Path | None = None
    """Our certificate; its subject names this member."""
    key: Path | None = None
    """Its private key."""
    hold_time: float = 0.2
    """Seconds that a packet of a flow nobody knows is held (seed 000, 3)."""
    hold_bytes: int = 2_000_000
    """Bytes of all held packets: 160 Mbit/s for 100 ms (seed 000, 3)."""
    hold_packets: int = 4096
    """Held packets in all."""
    hold_flow_bytes: int = 262_144
    """Bytes held of one flow."""
    hold_flow_packets: int = 256
    """Packets held of one flow."""
    entries: EntryMode = EntryMode.LAZY
    """When peers' connections get their entries."""
    mss_mtu: int = 1500
    """Largest IP packet that the paths between members carry, bytes; TCP's segments are clamped to fit with a tunnel
    around them."""
    peers: tuple[PeerConfig, ...] = ()
    """The others."""
    bus: BusKind = BusKind.MESH
    """What the messages ride on."""
    nats: HostPort | None = None
    """The NATS server; None with channels."""

    @property
    def insecure(self) -> bool:
        """Whether the control channels, or the one to the NATS server, are plain TCP."""
        return self.ca is None


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """``[[policy]]``: one rule of the access policy."""

    name: str
    """Unique name."""
    action: PolicyAction
    """What it does."""
    clients: tuple[Prefix, ...] = ()
    """Where connections come from; empty: anywhere."""
    servers: tuple[Prefix, ...] = ()
    """Where they go to; empty: anywhere."""
    ports: tuple[tuple[int, int], ...] = ()
    """The servers' ports, lowest and highest of each range; empty: all."""
    protocols: tuple[Protocol, ...] = (Protocol.TCP, Protocol.UDP)
    """Which."""
    to: str | None = None
    """INTERCEPT: the transparent VIP whose members take the connection."""
    holder: str | None = None
    """The member whose rule it is, where everybody sends such connections; None: everybody's own."""
    steer: SteerKind | None = None
    """Who chooses the member that serves a connection; None: it stays where it arrives."""

    def fits(self, client: Endpoint, server: Endpoint, protocol: int) -> bool:
        """Say whether a connection from client to server is this rule's."""
        return (
            protocol in self.protocols
            and (not self.ports or any(low <= server.port <= high for low, high in self.ports))
            and (not self.clients or any(client.address in prefix for prefix in self.clients))
            and (not self.servers or any(server.address in prefix for prefix in self.servers))
        )
