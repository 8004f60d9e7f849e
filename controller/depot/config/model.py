"""What an operator asks for: one frozen dataclass per TOML table, every value already checked and converted.

Addresses are 128-bit ints (`depot.address`), durations seconds as float, names the operator's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from depot.address import Endpoint, InterfaceAddress, Prefix, Protocol
from depot.config.cluster_model import ClusterConfig, PolicyConfig
from depot.config.host_port import HostPort
from depot.config.vmac_model import VmacConfig

__all__ = [
    "Config",
    "CostConfig",
    "DepotConfig",
    "HealthConfig",
    "HealthType",
    "LogLevel",
    "MemberConfig",
    "MemberFailure",
    "Mode",
    "PortConfig",
    "RouteConfig",
    "SchedulerKind",
    "SwitchConfig",
    "TlsConfig",
    "VipConfig",
]


class LogLevel(Enum):
    """How much the daemon logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Mode(Enum):
    """How packets reach the members of a VIP."""

    NAT = "nat"
    """The member's address and port replace the VIP's, both directions pass the depot."""
    DSR = "dsr"
    """Direct server return: only the MAC changes, the member has the VIP on its loopback and answers by itself."""
    IPIP = "ipip"
    """The packet travels inside IPv4 or IPv6 to the member, which answers by itself."""


class SchedulerKind(Enum):
    """How the next sessions of a VIP are shared out, see `depot.switching.schedule`."""

    ROUND_ROBIN = "round-robin"
    WEIGHTED_ROUND_ROBIN = "weighted-round-robin"
    LEAST_CONNECTIONS = "least-connections"
    MAGLEV = "maglev"
    COST = "cost"


class MemberFailure(Enum):
    """What becomes of a dead member's sessions (seed 001, 4.4: they are scrapped)."""

    DROP = "drop"
    """Their packets are dropped."""
    RESET = "reset"
    """The client is sent a TCP reset."""


class HealthType(Enum):
    """The active check of a member."""

    TCP = "tcp"
    """A connection is opened and closed."""
    HTTP = "http"
    """A GET is answered with an expected status."""
    NONE = "none"
    """No active check; the passive one still works."""


@dataclass(frozen=True, slots=True)
class DepotConfig:
    """``[depot]``: the daemon itself."""

    name: str = "depot"
    """Name of this depot in logs and metrics."""
    socket: Path = Path("/run/depot.sock")
    """Unix socket of the command line."""
    metrics: HostPort | None = None
    """Where Prometheus metrics are served; None: nowhere."""
    log_level: LogLevel = LogLevel.INFO
    """How much is logged."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """``[switch.tls]``: how to trust the switch, and how to prove who we are. PEM files."""

    ca: Path
    """Certificate authority that signed the switch's certificate."""
    cert: Path | None = None
    """Our certificate, for mutual TLS; with `key` or not at all."""
    key: Path | None = None
    """Private key of `cert`."""


@dataclass(frozen=True, slots=True)
class PortConfig:
    """``[[switch.port]]``: a port as a router's interface."""

    number: int
    """Data plane port, 1..511 without the CPU port."""
    mac: int
    """The port's own (router) MAC, 48 bit, unicast."""
    addresses: tuple[InterfaceAddress, ...] = ()
    """The port's own addresses with their on-link networks."""
    mtu: int = 1500
    """Largest IP packet in bytes, 1280..9216."""


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """``[[switch.route]]``: where a prefix lies beyond the on-link networks."""

    prefix: Prefix
    """The destinations."""
    port: int
    """The port they leave by: given, or found by the on-link network that holds `via`."""
    via: int | None = None
    """The next hop's address, 128 bit; None: the destinations are on-link."""


@dataclass(frozen=True, slots=True)
class SwitchConfig:
    """``[[switch]]``: one P4Runtime target."""

    name: str
    """Unique name."""
    address: HostPort
    """Its P4Runtime server."""
    device_id: int = 1
    """P4Runtime device id, 1..2**64 - 1."""
    election_id: int | None = None
    """128-bit election id; None: the controller chooses one."""
    tls: TlsConfig | None = None
    """TLS; None: plain text."""
    ports: tuple[PortConfig, ...] = ()
    """Its ports."""
    routes: tuple[RouteConfig, ...] = ()
    """Its routes, on-link networks not among them."""

    def port_towards(self, address: int) -> PortConfig | None:
        """Return the port whose on-link network holds the address, the longest prefix first; None if no one does."""
        found: tuple[int, PortConfig | None] = (-1, None)
        for port in self.ports:
            for interface in port.addresses:
                if address in interface.prefix and interface.prefix.length > found[0]:
                    found = (interface.prefix.length, port)
        return found[1]


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """``[vip.health]``: how the members of a VIP are watched."""

    type: HealthType = HealthType.TCP
    """The active check; the default is TCP for a TCP VIP and none for a UDP VIP."""
    interval: float = 2.0
    """Seconds from one check to the next."""
    timeout: float = 1.0
    """Seconds after which a check has failed."""
    rise: int = 2
    """Successes in a row that bring a dead member back."""
    fall: int = 3
    """Failures in a row that declare a member dead."""
    path: str = "/"
    """HTTP: what to GET."""
    host: str | None = None
    """HTTP: the Host header; None: the member's address."""
    expect: tuple[int, ...] = (200,)
    """HTTP: the statuses that mean health."""
    port: int | None = None
    """The port to check; None: the member's own."""
    source: int | None = None
    """The address that checks come from, 128 bit; None: the system chooses."""
    passive: bool = True
    """Whether clients' unanswered SYNs count (seed 001, 4.4). TCP only."""
    passive_timeout: float = 3.0
    """Seconds after which a client's SYN counts as unanswered; above 1 s, a client's first retry (RFC 6298)."""
    passive_fall: int = 3
    """Unanswered SYNs in a row that declare a member dead."""
    passive_retry: float = 10.0
    """Without active checks: seconds until a dead member is tried again."""


@dataclass(frozen=True, slots=True)
class CostConfig:
    """``[vip.cost]``: the weighted cost function (seed 001, section 2). A coefficient of 0 leaves its metric out."""

    cache_size: float = 0.0
    """Coefficient of the free cache, more is better."""
    disk_bandwidth: float = 0.0
    """Coefficient of the available disk bandwidth, more is better."""
    response_time: float = 1.0
    """Coefficient of the response time from depot to member, less is better."""
    cpu_load: float = 0.0
    """Coefficient of the CPU load, less is better."""
    active_requests: float = 1.0
    """Coefficient of the requests being served, less is better."""
    pending_requests: float = 0.0
    """Coefficient of the requests waiting, less is better."""
    report_path: str | None = None
    """Where members report their metrics (HTTP GET, JSON); None: only what the depot measures itself counts."""
    report_port: int | None = None
    """The port of the report; None: the member's own."""
    report_interval: float = 5.0
    """Seconds from one report to the next; a report older than three intervals no longer counts."""


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """``[[vip.member]]``: one server, proxy or gateway behind a VIP."""

    name: str
    """Unique within its VIP."""
    address: int
    """128-bit address."""
    port: int
    """The port it serves at; the VIP's own in modes dsr and ipip, 0 for a transparent VIP: any."""
    weight: int = 1
    """Its share relative to the others, 0..256; 0: no new sessions, the old ones stay (drained)."""

    @property
    def endpoint(self) -> Endpoint:
        """Address and port."""
        return Endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True)
class VipConfig:
    """``[[vip]]``: one virtual service."""

    name: str
    """Unique name."""
    address: int
    """128-bit address; 0 for a transparent one."""
    port: int
    """TCP or UDP port, 1..65535; 0 for a transparent one."""
    protocol: Protocol = Protocol.TCP
    """TCP or UDP."""
    mode: Mode = Mode.NAT
    """How packets reach the members."""
    scheduler: SchedulerKind = SchedulerKind.ROUND_ROBIN
    """How the next sessions are shared out."""
    tunnel_source: int | None = None
    """Mode ipip: the outer source address, 128 bit. Given if and only if the mode is ipip."""
    slow_start: float = 0.0
    """Seconds over which a returning member's share grows to its full size; 0: at once."""
    on_member_failure: MemberFailure = MemberFailure.DROP
    """What becomes of a dead member's sessions."""
    time_wait: float = 60.0
    """Seconds that an ended session is kept for late packets: 2 MSL (seed 001, 4.1)."""
    idle_timeout: float = 900.0
    """Seconds without a packet after which a session is over; 900 for TCP, 60 for UDP unless given."""
    handshake_timeout: float = 30.0
    """Seconds that an unanswered SYN keeps its session. TCP only."""
    members: tuple[MemberConfig, ...] = ()
    """At least one."""
    health: HealthConfig = HealthConfig()
    """How members are watched."""
    cost: CostConfig = CostConfig()
    """For the scheduler "cost"."""
    transparent: bool = False
    """Whether it has no endpoint of its own: its members serve what the access policy intercepts. Mode dsr."""
    shared: bool = False
    """Whether other members of the cluster may own sessions of this VIP; never without a cluster."""

    @property
    def endpoint(self) -> Endpoint:
        """Address and port."""
        return Endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Config:
    """One whole file."""

    depot: DepotConfig
    """The daemon."""
    switches: tuple[SwitchConfig, ...]
    """At least one."""
    vips: tuple[VipConfig, ...]
    """The services; none is allowed: the depot then routes only."""
    cluster: ClusterConfig | None = None
    """The cluster that the depot is a member of; None: none."""
    policies: tuple[PolicyConfig, ...] = ()
    """The access policy: the first rule that fits decides."""
    vmac: VmacConfig | None = None
    """The gateways behind one address; None: there are none."""
