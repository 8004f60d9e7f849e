"""Members of a cluster joined in memory under one virtual clock: switches, cores and control channels, no socket.

Each site has clients at port 1, proxies at port 2, the others at port 3 and the way to the servers at port 4. Frames
that leave at port 3 arrive at the other sites; control channels take `delay` seconds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.tests.closed_loop import Host, World
from controller.tests.p4runtime_values import codec
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from depot.address import FlowKey, format_mac
from depot.cluster import CloseChannel, Mesh, OpenChannel
from depot.cluster.mesh_shell import peer_settings
from depot.p4runtime.packets import DropReason
from depot.switching.announcer import Announcement
from depot.switching.switch_core import SwitchCore

__all__ = ["INTERCEPT", "SERVER", "SERVER6", "ClusterWorld", "Site"]

BACKBONE = 3
SERVER, SERVER6 = "198.51.100.1", "2001:db8:5::1"
NAMES = "abcdefg"

INTERCEPT = """
[[policy]]
name = "web"
port = 80
protocol = "tcp"
action = "intercept"
to = "proxies"
"""


def site_text(name: str, names: str, more: str) -> str:
    """The file of one member."""
    i = NAMES.index(name) + 1
    peers = "".join(
        f"""
[[cluster.peer]]
name = "{other}"
address = "192.0.2.{NAMES.index(other) + 11}:4646"
tunnel = ["192.0.2.{NAMES.index(other) + 11}"]
"""
        for other in names
        if other != name
    )
    routes = "".join(
        f"""
[[switch.route]]
prefix = "{prefix}"
via = "{via}"
"""
        for other in names
        if other != name
        for j in [NAMES.index(other) + 1]
        for prefix, via in ((f"10.{j}.0.0/16", f"192.0.2.{10 + j}"), (f"2001:db8:{j:x}0::/48", f"2001:db8:ffff::1{j}"))
    )
    return f"""
[[switch]]
name = "s{name}"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:0{i}:01:01"
addresses = ["10.{i}.0.1/24", "2001:db8:{i:x}0::1/64"]
[[switch.port]]
number = 2
mac = "02:00:00:0{i}:02:01"
addresses = ["10.{i}.9.1/24"]
[[switch.port]]
number = 3
mac = "02:00:00:0{i}:03:01"
addresses = ["192.0.2.{10 + i}/24", "2001:db8:ffff::1{i}/64"]
[[switch.port]]
number = 4
mac = "02:00:00:0{i}:04:01"
addresses = ["203.0.113.{i}/24", "2001:db8:fffe::{i}/64"]
[[switch.route]]
prefix = "198.51.100.0/24"
via = "203.0.113.254"
[[switch.route]]
prefix = "2001:db8:5::/48"
via = "2001:db8:fffe::fe"
{routes}
[cluster]
name = "{name}"
listen = "192.0.2.{10 + i}:4646"
tunnel = ["192.0.2.{10 + i}"]
insecure = true
{peers}
[[vip]]
name = "proxies"
transparent = true
[[vip.member]]
name = "p1"
address = "10.{i}.9.11"
{more}
"""


class Site(World):
    """A member: a switch, its core, its end of the control channels."""

    def __init__(self, cluster: ClusterWorld, name: str, more: str) -> None:
        self.cluster = cluster
        self.name = name
        self.text = site_text(name, cluster.names, more)
        super().__init__(self.text)
        self.proxy = self.host(2, f"10.{cluster.names.index(name) + 1}.9.11")
        self.gateway = self.host(4, "203.0.113.254")
        self.gateway6 = self.host(4, "2001:db8:fffe::fe")

    @property
    def in_sync(self) -> bool:
        """`Directory`."""
        return self.mesh.in_sync

    def lookup(self, flow: FlowKey) -> object:
        """`Directory`."""
        return self.mesh.database.lookup(flow)

    def new_core(self) -> None:
        """A controller that has just been started, outside the cluster still."""
        self.connected = False
        config = self.config
        assert config.cluster is not None
        self.now = self.cluster.now
        self.mesh = Mesh(config.cluster.name, peer_settings(config.cluster), lambda: 0.5, self.now)
        self.core = SwitchCore(config.switches[0], config.vips, config.cluster, config.policies, self)  # type: ignore[arg-type]
        self.core.set_schedules({vip.name: [m.name for m in vip.members] for vip in config.vips}, self.now)

    def tell_peers(self, announcements: Sequence[Announcement]) -> None:
        """Own connections, given to the channels before anything else happens."""
        for flow, source_is_hi, action in ((one.flow, one.source_is_hi, one.action) for one in announcements):
            self.cluster.told.append((self.name, flow, action))
            if action is None:
                self.mesh.remove(flow)
            else:
                self.mesh.install(flow, source_is_hi, action, self.now)
        self.cluster.send_all(self)

    def _leave(self, port: int, frame: Packet, left: list[tuple[int, Packet]]) -> None:
        super()._leave(port, frame, left)
        if port == BACKBONE:
            self.cluster.carry(self, frame)

    def drops(self, reason: DropReason) -> int:
        """Packets dropped for a reason."""
        for wanted in codec().read_counters():
            for entity in self.pipeline.reader.read(wanted):
                name, index, count = codec().decode_counter(entity.counter_entry)
                if (name, index) == ("drops", reason):
                    return count.packets
        raise AssertionError(f"no counter of {reason}")

    # Frames

    def packet(
        self, source: Host, src: str, sport: int, dst: str, dport: int, flags: str = "", data: bytes = b"", **more: int
    ) -> Packet:
        """A segment, or without flags a datagram, that a host sends to its switch, perhaps in another's name."""
        ip = IPv6(src=src, dst=dst) if ":" in dst else IP(src=src, dst=dst)
        mac = format_mac(self.config.switches[0].ports[source.port - 1].mac)
        segment = TCP(sport=sport, dport=dport, flags=flags, **more) if flags else UDP(sport=sport, dport=dport)
        return Ether(src=source.mac, dst=mac) / ip / segment / data

    def greet(self, host: Host) -> None:
        """The host makes itself known."""
        asked = format_mac(self.config.switches[0].ports[host.port - 1].mac)
        if ":" not in host.address:
            own = self.config.switches[0].ports[host.port - 1].addresses[0]
            self.send(host.port, Ether(src=host.mac, dst=asked) / ARP(
                hwsrc=host.mac, psrc=host.address, pdst=str(own).partition("/")[0]))  # fmt: skip


@dataclass(order=True)
class _Delivery:
    at: float
    serial: int
    site: Site = field(compare=False)
    channel: int = field(compare=False)
    data: bytes | None = field(compare=False)  # None: the end


class ClusterWorld:
    """All members and the time."""

    def __init__(self, names: str = "ab", more: str | dict[str, str] = INTERCEPT, delay: float = 0.0) -> None:
        self.now = 1000.0
        self.names = names
        self.delay = delay
        self.told: list[tuple[str, FlowKey, object]] = []
        self.cut: set[str] = set()
        """Sites that no control channel reaches."""
        self._frames: list[tuple[Site, Packet]] = []
        self._pipes: dict[tuple[str, int], tuple[Site, int]] = {}
        self._in_flight: list[_Delivery] = []
        self._serials = itertools.count()
        self._carrying = False
        self.sites = {name: Site(self, name, more if isinstance(more, str) else more.get(name, "")) for name in names}
        for site in self.sites.values():
            site.connect()
        self.start(*names)
        self.advance(0.5)

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def start(self, *names: str) -> None:
        """These members begin to call the others."""
        for name in names:
            self.sites[name].mesh.handle_timer(self.now)
        self.pump()

    # Frames between sites

    def carry(self, sender: Site, frame: Packet) -> None:
        """A frame on the wire between the sites."""
        self._frames.append((sender, frame))
        if self._carrying:
            return
        self._carrying = True
        try:
            while self._frames:
                origin, one = self._frames.pop(0)
                for site in self.sites.values():
                    mine = format_mac(site.config.switches[0].ports[BACKBONE - 1].mac)
                    if site is not origin and (one.dst == mine or int(one.dst[:2], 16) & 1):
                        site.send(BACKBONE, one)
        finally:
            self._carrying = False

    # Control channels

    def send_all(self, site: Site) -> None:
        """What a member's channels have to say is on its way."""
        for channel in site.mesh.take_writable(self.now):
            while data := site.mesh.data_to_send(channel):
                self._post(site, channel, data)

    def _post(self, site: Site, channel: int, data: bytes | None) -> None:
        other = self._pipes.get((site.name, channel))
        if other is not None:
            delivery = _Delivery(self.now + self.delay, next(self._serials), *other, data)
            heapq.heappush(self._in_flight, delivery)

    def pump(self) -> None:
        """Carry orders, bytes and news until nobody has more to say now."""
        for _ in range(1000):
            busy = False
            for site in self.sites.values():
                self.send_all(site)
                for event in site.mesh.take_events():
                    busy = True
                    if isinstance(event, OpenChannel):
                        self._open(site, event)
                    elif isinstance(event, CloseChannel):
                        self.send_all(site)
                        self._close(site, event.channel)
                    else:
                        site.core.cluster.peers_said(event, self.now)
                        site.settle()
            while self._in_flight and self._in_flight[0].at <= self.now:
                busy = True
                one = heapq.heappop(self._in_flight)
                if one.site.name in self.cut:
                    continue
                if one.data is None:
                    self._pipes.pop((one.site.name, one.channel), None)
                    one.site.mesh.disconnected(one.channel, self.now)
                else:
                    one.site.mesh.receive(one.channel, one.data, self.now)
            if not busy:
                return
        raise AssertionError("the members go on for ever")

    def _open(self, site: Site, order: OpenChannel) -> None:
        other = self.sites.get(order.identity)
        number = None if other is None or {site.name, other.name} & self.cut else other.mesh.accept(self.now)
        if other is None or number is None:
            site.mesh.disconnected(order.channel, self.now, "refused")
            return
        self._pipes[site.name, order.channel] = other, number
        self._pipes[other.name, number] = site, order.channel
        site.mesh.connected(order.channel, self.now)

    def _close(self, site: Site, channel: int) -> None:
        self._post(site, channel, None)
        self._pipes.pop((site.name, channel), None)
        site.mesh.disconnected(channel, self.now)

    # Time

    def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass everywhere."""
        end = self.now + seconds
        while True:
            self.pump()
            if self.now >= end:
                return
            times = [self._in_flight[0].at] if self._in_flight else []
            for site in self.sites.values():
                times += [at for at in (site.core.next_deadline(), site.mesh.next_deadline()) if at is not None]
            self.now = min(end, self.now + step, max(self.now + 0.001, min(times, default=end)))
            for site in self.sites.values():
                site.now = self.now
                site.mesh.handle_timer(self.now)
                site.tick()

    # Accidents

    def kill(self, name: str) -> None:
        """A controller dies, and its channels with it; its switch goes on."""
        self.sites[name].disconnect()
        self.cut.add(name)
        for (owner, channel), (other, number) in list(self._pipes.items()):
            if owner == name:
                del self._pipes[owner, channel]
                self._pipes.pop((other.name, number), None)
                other.mesh.disconnected(number, self.now)
        self.pump()

    def restart(self, name: str) -> None:
        """It is started again."""
        site = self.sites[name]
        self.cut.discard(name)
        site.new_core()
        site.connect()
        self.start(name)
