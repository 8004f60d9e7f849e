"""From the TOML tables of the cluster and the access policy to their models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depot.address import Prefix, Protocol
from depot.config.cluster_model import (
    BusKind,
    ClusterConfig,
    EntryMode,
    PeerConfig,
    PolicyAction,
    PolicyConfig,
    SteerKind,
)
from depot.config.host_port import HostPort
from depot.config.problems import KeyPath
from depot.config.reader import TableReader
from depot.config.values import (
    Refused,
    boolean,
    choice,
    duration,
    file_path,
    host_port,
    integer,
    ip_address,
    list_of,
    name,
    network,
    text,
)

__all__ = ["ClusterDraft", "PolicyDraft", "check_member_name", "read_cluster", "read_policy"]

_MOST_HELD_BYTES = 1 << 30
_MOST_HELD_PACKETS = 1 << 20
_PORT = integer(0, 65535)
_ANY = "any"
_INFINITE = "infinite"


@dataclass(frozen=True, slots=True)
class ClusterDraft:
    """The cluster and where its parts are in the file."""

    cluster: ClusterConfig
    """The cluster, with those of its peers that could be read."""
    path: KeyPath
    """Its table."""
    peer_paths: tuple[KeyPath, ...]
    """The tables of `cluster.peers`."""
    has_all_peers: bool
    """Whether all of them could be read."""


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A rule and where it is in the file."""

    policy: PolicyConfig
    """The rule."""
    path: KeyPath
    """Its table."""


def read_cluster(reader: TableReader | None, base: Path) -> ClusterDraft | None:
    """Read ``[cluster]``; None if it is not there, or others cannot be checked against it."""
    if reader is None:
        return None
    default = ClusterConfig("", HostPort("", 0), ())
    bus = reader.vital("bus", choice(BusKind), default.bus)
    with_channels = bus is BusKind.MESH
    tables = reader.tables("peer")
    peers = [(peer, part.path) for part in tables if (peer := _read_peer(part, with_channels))]
    ca, cert, key = _read_certificates(reader, base)
    cluster = ClusterConfig(
        name=reader.required("name", _member_name, ""),
        listen=_read_address(reader, "listen", with_channels),
        tunnel=reader.required("tunnel", list_of(ip_address), ()),
        ca=ca,
        cert=cert,
        key=key,
        hold_time=reader.optional("hold_time", duration(0.001, 10), default.hold_time),
        hold_bytes=reader.optional("hold_bytes", integer(1500, _MOST_HELD_BYTES), default.hold_bytes),
        hold_packets=reader.optional("hold_packets", integer(1, _MOST_HELD_PACKETS), default.hold_packets),
        hold_flow_bytes=reader.optional("hold_flow_bytes", integer(1500, _MOST_HELD_BYTES), default.hold_flow_bytes),
        hold_flow_packets=reader.optional(
            "hold_flow_packets", integer(1, _MOST_HELD_PACKETS), default.hold_flow_packets
        ),
        entries=reader.optional("entries", choice(EntryMode), default.entries),
        mss_mtu=reader.optional("mss_mtu", integer(1280, 9216), default.mss_mtu),
        peers=tuple(peer for peer, _ in peers),
        bus=bus,
        nats=reader.optional("nats", _nats_server, None),
    )
    _check_nats(reader, bus)
    reader.finish()
    _check_caps(cluster, reader)
    if not reader.usable:
        return None
    return ClusterDraft(cluster, reader.path, tuple(path for _, path in peers), len(peers) == len(tables))


def _read_address(reader: TableReader, key: str, with_channels: bool) -> HostPort:
    """Where a member listens: needed with channels, of no use with NATS."""
    if with_channels:
        return reader.required(key, host_port, HostPort("", 0))
    _refuse_channel_keys(reader, (key,))
    return HostPort("", 0)


def _refuse_channel_keys(reader: TableReader, keys: tuple[str, ...]) -> None:
    for key in keys:
        reader.optional(key, _anything, None)
        if reader.has(key):
            message = 'has no meaning with cluster.bus = "nats", where members do not call each other; leave it out'
            reader.problems.add((*reader.path, key), message)


def _anything(value: object) -> None:
    return None


def _nats_server(value: object) -> HostPort:
    given = text(value)
    scheme, separator, rest = given.partition("://")
    if scheme != "nats" or not separator:
        raise Refused(f'{given!r} is no NATS server; write "nats://host:port"')
    return host_port(rest)


def _check_nats(reader: TableReader, bus: BusKind) -> None:
    if reader.is_wrong("bus"):
        return
    if bus is BusKind.NATS and not reader.has("nats"):
        reader.problems.add(reader.path, 'bus = "nats" needs its server: write nats = "nats://host:port"')
    elif bus is BusKind.MESH and reader.has("nats"):
        reader.problems.add((*reader.path, "nats"), 'has no meaning without bus = "nats"; add that or leave this out')


def _member_name(value: object) -> str:
    given = name(value)
    if len(given) > 63:
        raise Refused(f"{given!r} is too long for a certificate; use at most 63 letters")
    return given


def check_member_name(given: str) -> None:
    """Raises ValueError for what cannot be a member's name."""
    try:
        _member_name(given)
    except Refused as refused:
        raise ValueError(refused.message) from None


def _read_certificates(reader: TableReader, base: Path) -> tuple[Path | None, Path | None, Path | None]:
    """The three files of mutual TLS, all or, with `insecure`, none."""
    insecure = reader.optional("insecure", boolean, False)
    keys = ("ca", "cert", "key")
    given = {key: reader.optional(key, file_path, None) for key in keys}
    for name_of_file in keys:
        if insecure and reader.has(name_of_file):
            reader.problems.add(
                (*reader.path, name_of_file), "has no meaning with insecure = true; leave out one of the two"
            )
    missing = [f'"{key}"' for key in keys if not reader.has(key)]
    if missing and not insecure and not reader.is_wrong("insecure"):
        message = (
            f"lacks {', '.join(missing)}: control channels use mutual TLS; `depot cluster init` makes the files, or "
            "say insecure = true, and everybody who reaches the port may speak for a member"
        )
        reader.problems.add(reader.path, message)
    ca, cert, key = (base / path if path is not None and not insecure else None for path in given.values())
    return ca, cert, key


def _check_caps(cluster: ClusterConfig, reader: TableReader) -> None:
    for what in ("bytes", "packets"):
        flow, all_of_them = getattr(cluster, f"hold_flow_{what}"), getattr(cluster, f"hold_{what}")
        if flow > all_of_them and reader.has(f"hold_flow_{what}"):
            message = f"{flow} is more than hold_{what}, {all_of_them}, which is for all flows together"
            reader.problems.add((*reader.path, f"hold_flow_{what}"), message)


def _read_peer(reader: TableReader, with_channels: bool) -> PeerConfig | None:
    default = PeerConfig("", HostPort("", 0), ())
    peer = PeerConfig(
        name=reader.required("name", _member_name, ""),
        address=_read_address(reader, "address", with_channels),
        tunnel=reader.required("tunnel", list_of(ip_address), ()),
        keepalive=reader.optional("keepalive", duration(0.05, 3600), default.keepalive),
        misses=reader.optional("misses", integer(1, 100), default.misses),
        retries=reader.optional("retries", _retries, None),
        retry_interval=reader.optional("retry_interval", duration(0.05, 3600), default.retry_interval),
        longest_retry_interval=reader.optional(
            "longest_retry_interval", duration(0.05, 86400), max(default.longest_retry_interval, default.retry_interval)
        ),
    )
    if peer.longest_retry_interval < peer.retry_interval:
        key = "longest_retry_interval" if reader.has("longest_retry_interval") else "retry_interval"
        reader.problems.add((*reader.path, key), "longest_retry_interval must not be below retry_interval")
    if not with_channels:
        _refuse_channel_keys(reader, ("retries", "retry_interval", "longest_retry_interval"))
    reader.finish()
    return peer if reader.usable else None


def _retries(value: object) -> int | None:
    if value == _INFINITE:
        return None
    if isinstance(value, str):
        raise Refused(f'{value!r} is no number of attempts; use 1 or more, or "{_INFINITE}"')
    return integer(1, 1_000_000)(value)


def read_policy(reader: TableReader) -> PolicyDraft | None:
    """Read ``[[policy]]``; None if others cannot be checked against it."""
    action = reader.required("action", choice(PolicyAction), PolicyAction.DENY)
    policy = PolicyConfig(
        name=reader.required("name", name, ""),
        action=action,
        clients=reader.vital("client", _prefixes, ()),
        servers=reader.vital("server", _prefixes, ()),
        ports=reader.vital("port", _ports, ()),
        protocols=reader.vital("protocol", _protocols, (Protocol.TCP, Protocol.UDP)),
        to=reader.vital("to", name, None),
        holder=reader.vital("holder", name, None),
        steer=reader.vital("steer", choice(SteerKind), None),
    )
    reader.finish()
    is_intercepting = action is PolicyAction.INTERCEPT
    if reader.usable and is_intercepting and policy.to is None:
        message = 'action "intercept" needs "to": the transparent [[vip]] whose members take the connections'
        reader.problems.add(reader.path, message)
    for key in ("to", "steer"):
        if reader.has(key) and not is_intercepting and not reader.is_wrong("action") and reader.has("action"):
            reader.problems.add((*reader.path, key), f'has no meaning with action "{action.value}"')
    return PolicyDraft(policy, reader.path) if reader.usable else None


def _prefixes(value: object) -> tuple[Prefix, ...]:
    """A prefix, a list of them, or "any"."""
    if value == _ANY:
        return ()
    found = list_of(_prefix)(value) if isinstance(value, list) else (_prefix(value),)
    if not found:
        raise Refused(f'is empty, so nothing would fit; say "{_ANY}", or leave it out')
    return tuple(dict.fromkeys(found))


def _prefix(value: object) -> Prefix:
    prefix = network(value)
    if prefix.length == 0:
        raise Refused(
            '"::/0" would take IPv4 too; say "any" for both families, or "2000::/3" for global IPv6 addresses'
        )
    return prefix


def _protocols(value: object) -> tuple[Protocol, ...]:
    known = {protocol.name.lower(): (protocol,) for protocol in Protocol} | {_ANY: tuple(Protocol)}
    given = text(value).lower()
    if given not in known:
        raise Refused(f'{value!r} is unknown; use "tcp", "udp" or "{_ANY}"')
    return known[given]


def _ports(value: object) -> tuple[tuple[int, int], ...]:
    """A port, a range "low-high", or a list of both."""
    if value == _ANY:
        return ()
    found = list_of(_port_range)(value) if isinstance(value, list) else (_port_range(value),)
    if not found:
        raise Refused(f'is empty, so nothing would fit; say "{_ANY}", or leave it out')
    return tuple(dict.fromkeys(found))


def _port_range(value: object) -> tuple[int, int]:
    if not isinstance(value, str):
        port = _PORT(value)
        return port, port
    low, dash, high = value.partition("-")
    if not (dash and low.isascii() and low.isdigit() and high.isascii() and high.isdigit()):
        raise Refused(f'{value!r} is no port range; write 80 or "8000-8099"')
    ends = _PORT(int(low)), _PORT(int(high))
    if ends[0] > ends[1]:
        raise Refused(f'{value!r} ends below its start; did you mean "{high}-{low}"?')
    return ends
