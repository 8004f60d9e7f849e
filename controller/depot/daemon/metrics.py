"""The daemon's metrics: what each means, its unit, and whether a value other than zero is expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import Enum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from depot.daemon.answers import member_count, vip_count
from depot.daemon.daemon import Daemon
from depot.daemon.switch_runner import SwitchRunner
from depot.p4runtime.arbitration import Role
from depot.p4runtime.packets import DropReason, PuntReason
from depot.switching.services import MemberState

__all__ = ["DepotCollector", "MetricKind", "MetricSpec", "Metrics"]


class MetricKind(Enum):
    """How a value moves."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric."""

    name: str
    """Without the prefix; counters get `_total`."""
    kind: MetricKind
    """How it moves."""
    unit: str
    """What is counted."""
    help: str
    """What it means."""
    labels: tuple[str, ...]
    """Label names."""
    expected: bool
    """Whether a value other than zero is normal; where not, look why."""


_COUNTER, _GAUGE = MetricKind.COUNTER, MetricKind.GAUGE
_SWITCH, _VIP, _MEMBER, _PEER = ("switch",), ("vip",), ("vip", "member"), ("peer",)
_GATEWAY = ("gateway",)


class Metrics:
    """Every metric there is."""

    SWITCH_PRIMARY = MetricSpec("switch_primary", _GAUGE, "0/1", "Whether we may write to it", _SWITCH, True)
    SWITCH_IN_SYNC = MetricSpec("switch_in_sync", _GAUGE, "0/1", "Whether its tables are as desired", _SWITCH, True)
    SWITCH_CONNECTS = MetricSpec("switch_connects", _COUNTER, "times", "Connected as primary", _SWITCH, True)
    SESSIONS = MetricSpec("sessions", _GAUGE, "sessions", "Known, ended ones that linger too", _SWITCH, True)
    ENTRIES = MetricSpec("entries", _GAUGE, "entries", "Held by table", ("switch", "table"), True)
    NEIGHBOURS = MetricSpec("neighbours", _GAUGE, "neighbours", "Next hops with a MAC", _SWITCH, True)
    BACKLOG = MetricSpec("write_backlog", _GAUGE, "updates", "Waiting to be written", _SWITCH, True)
    WRITES = MetricSpec("writes", _COUNTER, "updates", "Done by the switch", _SWITCH, True)
    WRITE_ERRORS = MetricSpec("write_errors", _COUNTER, "updates", "Refused by the switch", _SWITCH, False)
    DIFFERENCES = MetricSpec(
        "reconcile_differences", _COUNTER, "updates", "Made necessary by comparing tables; the first fills them",
        _SWITCH, True,
    )  # fmt: skip
    DROPS = MetricSpec("drops", _COUNTER, "packets", "Dropped by the data plane", ("switch", "reason"), False)
    PUNTS = MetricSpec("punts", _COUNTER, "packets", "Handed to the controller", ("switch", "reason"), True)
    SUPPRESSED = MetricSpec("icmp_suppressed", _COUNTER, "packets", "Held back by the rate limit", _SWITCH, False)
    VIP_PACKETS = MetricSpec(
        "vip_packets", _COUNTER, "packets", "To the VIP before a session had its entry", _VIP, True
    )
    VIP_BYTES = MetricSpec("vip_bytes", _COUNTER, "bytes", "To the VIP before a session had its entry", _VIP, True)
    VIP_MEMBERS_UP = MetricSpec("vip_members_up", _GAUGE, "members", "Getting new sessions", _VIP, True)
    VIP_SLOTS = MetricSpec("vip_schedule_slots", _GAUGE, "slots", "Length of the schedule; 0: no service", _VIP, True)
    SESSIONS_CLOSED = MetricSpec("sessions_closed", _COUNTER, "sessions", "Ended", ("vip", "reason"), True)
    MEMBER_UP = MetricSpec("member_up", _GAUGE, "0/1", "Alive as far as checks can tell", _MEMBER, True)
    MEMBER_DRAINED = MetricSpec("member_drained", _GAUGE, "0/1", "Alive, but given no new sessions", _MEMBER, False)
    MEMBER_SHARE = MetricSpec("member_share", _GAUGE, "ratio", "Of the VIP's schedule", _MEMBER, True)
    MEMBER_SESSIONS = MetricSpec("member_sessions", _GAUGE, "sessions", "Active", _MEMBER, True)
    MEMBER_OPENED = MetricSpec("member_sessions_opened", _COUNTER, "sessions", "Given to the member", _MEMBER, True)
    MEMBER_ANSWERED = MetricSpec("member_syns_answered", _COUNTER, "SYNs", "Answered by the member", _MEMBER, True)
    MEMBER_UNANSWERED = MetricSpec(
        "member_syns_unanswered", _COUNTER, "SYNs", "Not answered by the member", _MEMBER, False
    )
    MEMBER_MOVED = MetricSpec(
        "member_sessions_moved", _COUNTER, "sessions", "Taken over from a dead member", _MEMBER, False
    )
    MEMBER_DEATHS = MetricSpec("member_deaths", _COUNTER, "times", "Declared dead", _MEMBER, False)
    MEMBER_RESPONSE = MetricSpec("member_response_seconds", _GAUGE, "seconds", "Mean of checks", _MEMBER, True)
    MEMBER_PACKETS = MetricSpec("member_packets", _COUNTER, "packets", "To the member", _MEMBER, True)
    MEMBER_BYTES = MetricSpec("member_bytes", _COUNTER, "bytes", "To the member", _MEMBER, True)
    CLUSTER_PEER_UP = MetricSpec("cluster_peer_up", _GAUGE, "0/1", "Its connections are known", _PEER, True)
    CLUSTER_PEER_CONNECTIONS = MetricSpec(
        "cluster_peer_connections", _GAUGE, "connections", "Announced by the peer", _PEER, True
    )
    CLUSTER_PEER_WAITING = MetricSpec(
        "cluster_peer_waiting_bytes", _GAUGE, "bytes", "Not yet taken by the peer", _PEER, False
    )
    CLUSTER_IN_SYNC = MetricSpec("cluster_in_sync", _GAUGE, "0/1", "Every peer's connections are known", (), True)
    CLUSTER_OWN = MetricSpec("cluster_own_connections", _GAUGE, "connections", "Announced by us", (), True)
    CLUSTER_STRANGERS = MetricSpec(
        "cluster_callers_turned_away", _COUNTER, "callers", "Could not prove to be of the cluster", (), False
    )
    CLUSTER_OFF_BOX = MetricSpec(
        "cluster_off_box", _GAUGE, "entries", "Peers' connections in the switch", _SWITCH, True
    )
    CLUSTER_HELD = MetricSpec(
        "cluster_held_packets", _GAUGE, "packets", "Waiting for word of their flow", _SWITCH, True
    )
    CLUSTER_HELD_BYTES = MetricSpec("cluster_held_bytes", _GAUGE, "bytes", "Of those packets", _SWITCH, True)
    CLUSTER_PACKETS = MetricSpec(
        "cluster_packets", _COUNTER, "packets",
        "Of the cluster's flows, through the controller: held, released, expired, overflowed, looped, refused",
        ("switch", "fate"), True,
    )  # fmt: skip
    CLUSTER_HANDOFFS = MetricSpec("cluster_handoffs", _COUNTER, "connections", "Given to a better peer", _SWITCH, True)
    CLUSTER_HANDOFFS_LOST = MetricSpec(
        "cluster_handoffs_lost", _COUNTER, "connections", "Of those, not taken by the peer", _SWITCH, False
    )
    CLUSTER_CONFLICTS = MetricSpec(
        "cluster_conflicts", _COUNTER, "connections", "Ours, and claimed by a peer too", _SWITCH, False
    )
    VMAC_GATEWAY_UP = MetricSpec("vmac_gateway_up", _GAUGE, "0/1", "It is heard", _GATEWAY, True)
    VMAC_GATEWAY_LOAD = MetricSpec("vmac_gateway_load", _GAUGE, "ratio", "1: all that it can do", _GATEWAY, True)
    VMAC_GATEWAY_BUCKETS = MetricSpec("vmac_gateway_buckets", _GAUGE, "buckets", "It serves", _GATEWAY, True)
    VMAC_OWNERLESS = MetricSpec("vmac_ownerless_buckets", _GAUGE, "buckets", "Nobody serves", (), False)
    VMAC_MOVED = MetricSpec("vmac_moved_buckets", _COUNTER, "buckets", "Changed hands here", ("how",), True)
    VMAC_MESSAGES = MetricSpec(
        "vmac_messages", _COUNTER, "messages", "Of gateways refused, by reason, and asks handed on", ("what",), True
    )
    RELOADS = MetricSpec("reloads", _COUNTER, "times", "Files read again", ("result",), True)

    @classmethod
    def all(cls) -> list[MetricSpec]:
        """Every metric, in the order above."""
        return [value for value in vars(cls).values() if isinstance(value, MetricSpec)]


Sample = tuple[MetricSpec, tuple[str, ...], float]


class DepotCollector(Collector):
    """Reads a daemon's state when it is asked to; for use on the daemon's own loop."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def collect(self) -> Iterable[Metric]:
        """Return every metric with its samples."""
        families = {spec.name: _family(spec) for spec in Metrics.all()}
        for spec, labels, value in self._samples():
            families[spec.name].add_metric(labels, value)
        return families.values()

    def _samples(self) -> Iterator[Sample]:
        for runner in self._daemon.runners.values():
            yield from _switch_samples(runner)
        yield from self._vip_samples()
        yield from self._member_samples()
        yield from self._cluster_samples()
        yield from self._gateway_samples()
        for succeeded in (True, False):
            label = "applied" if succeeded else "refused"
            yield Metrics.RELOADS, (label,), self._daemon.tally.reloads[succeeded]

    def _vip_samples(self) -> Iterator[Sample]:
        daemon = self._daemon
        for vip in daemon.config.vips:
            up = sum(one.state is MemberState.UP for one in daemon.services.members(vip.name))
            count = vip_count(daemon, vip)
            yield Metrics.VIP_MEMBERS_UP, (vip.name,), up
            yield Metrics.VIP_SLOTS, (vip.name,), len(daemon.services.schedules.get(vip.name, ()))
            yield Metrics.VIP_PACKETS, (vip.name,), count.packets
            yield Metrics.VIP_BYTES, (vip.name,), count.octets
        for labels, value in daemon.tally.closed.items():
            yield Metrics.SESSIONS_CLOSED, labels, value

    def _member_samples(self) -> Iterator[Sample]:
        daemon, tally = self._daemon, self._daemon.tally
        for status in daemon.services.members():
            key = (status.vip.name, status.config.name)
            slots = daemon.services.schedules.get(key[0], ())
            count = member_count(daemon, status)
            yield Metrics.MEMBER_UP, key, status.alive
            yield Metrics.MEMBER_DRAINED, key, status.state is MemberState.DRAINED
            yield Metrics.MEMBER_SHARE, key, slots.count(key[1]) / len(slots) if slots else 0.0
            yield Metrics.MEMBER_SESSIONS, key, daemon.load(*key)
            yield Metrics.MEMBER_OPENED, key, tally.opened[key]
            yield Metrics.MEMBER_ANSWERED, key, tally.established[key]
            yield Metrics.MEMBER_UNANSWERED, key, tally.unanswered[key]
            yield Metrics.MEMBER_MOVED, key, tally.moved[key]
            yield Metrics.MEMBER_DEATHS, key, tally.deaths[key]
            yield Metrics.MEMBER_PACKETS, key, count.packets
            yield Metrics.MEMBER_BYTES, key, count.octets
            if (seconds := daemon.checks.monitor.response_time(key)) is not None:
                yield Metrics.MEMBER_RESPONSE, key, seconds

    def _cluster_samples(self) -> Iterator[Sample]:
        member = self._daemon.cluster
        if member is None:
            return
        mesh = member.shell.mesh
        yield Metrics.CLUSTER_IN_SYNC, (), mesh.in_sync
        yield Metrics.CLUSTER_OWN, (), len(mesh.own)
        yield Metrics.CLUSTER_STRANGERS, (), member.strangers.total()
        for view in mesh.peers():
            yield Metrics.CLUSTER_PEER_UP, (view.identity,), view.is_up
            yield Metrics.CLUSTER_PEER_CONNECTIONS, (view.identity,), view.connections
            yield Metrics.CLUSTER_PEER_WAITING, (view.identity,), view.waiting
        for runner in self._daemon.runners.values():
            yield from _side_samples(runner)

    def _gateway_samples(self) -> Iterator[Sample]:
        if self._daemon.gateways is None:
            return
        view = self._daemon.gateways.view()
        yield Metrics.VMAC_OWNERLESS, (), sum(owner is None for owner in view.owners)
        for gateway in view.gateways:
            yield Metrics.VMAC_GATEWAY_UP, (gateway.name,), gateway.up
            yield Metrics.VMAC_GATEWAY_BUCKETS, (gateway.name,), gateway.buckets
            if gateway.load is not None:
                yield Metrics.VMAC_GATEWAY_LOAD, (gateway.name,), gateway.load
        for how, count in view.moved.items():
            yield Metrics.VMAC_MOVED, (how,), count
        for what, count in view.counts.items():
            yield Metrics.VMAC_MESSAGES, (what,), count


def _side_samples(runner: SwitchRunner) -> Iterator[Sample]:
    name, side = (runner.name,), runner.core.cluster
    yield Metrics.CLUSTER_OFF_BOX, name, len(side.peers.off_box)
    yield Metrics.CLUSTER_HELD, name, side.holding.packets
    yield Metrics.CLUSTER_HELD_BYTES, name, side.holding.octets
    for fate, count in asdict(side.holding.counts).items():
        yield Metrics.CLUSTER_PACKETS, (runner.name, fate), count
    yield Metrics.CLUSTER_HANDOFFS, name, side.peers.counts.handoffs
    yield Metrics.CLUSTER_HANDOFFS_LOST, name, side.peers.counts.handoffs_lost
    yield Metrics.CLUSTER_CONFLICTS, name, side.conflicts


def _switch_samples(runner: SwitchRunner) -> Iterator[Sample]:
    name, core, shell = (runner.name,), runner.core, runner.shell
    yield Metrics.SWITCH_PRIMARY, name, shell.role is Role.PRIMARY
    yield Metrics.SWITCH_IN_SYNC, name, runner.in_sync
    yield Metrics.SWITCH_CONNECTS, name, shell.connects
    yield Metrics.SESSIONS, name, len(core.tracker)
    yield Metrics.NEIGHBOURS, name, core.neighbours.count()
    yield Metrics.BACKLOG, name, runner.backlog
    yield Metrics.WRITES, name, shell.updates_written
    yield Metrics.WRITE_ERRORS, name, shell.updates_failed
    yield Metrics.DIFFERENCES, name, runner.differences
    yield Metrics.SUPPRESSED, name, core.icmp.suppressed
    for table, count in core.entries_held.items():
        yield Metrics.ENTRIES, (runner.name, table.value), count
    for drop in DropReason:
        cell = runner.counters.get(("drops", drop.value))
        yield Metrics.DROPS, (runner.name, drop.name.lower()), cell.packets if cell else 0
    for punt in PuntReason:
        cell = runner.counters.get(("punts", punt.value))
        yield Metrics.PUNTS, (runner.name, punt.name.lower()), cell.packets if cell else 0


def _family(spec: MetricSpec) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if spec.kind is MetricKind.COUNTER else GaugeMetricFamily
    note = "" if spec.expected else "; expected to be 0"
    return kind(f"depot_{spec.name}", f"{spec.help} [{spec.unit}]{note}", labels=spec.labels)
