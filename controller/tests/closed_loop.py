"""A switch core and the compiled program joined in memory under a virtual clock: frames in, frames out, no socket.

The core's writes go through its codec into the software switch's own writer; digests, packet-ins and idle entries come
back as P4Runtime messages. Hosts on the ports answer ARP and neighbour solicitations while they are `awake`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controller.tests.p4runtime_values import codec, p4info_text
from finsy.proto import p4r
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from depot.address import format_mac
from depot.config import Config, parse
from depot.p4runtime.codec import parse_p4info
from depot.p4runtime.entry import Entry, EntryKey, Table
from depot.p4runtime.packets import PacketOut
from depot.p4runtime.reconcile import Operation, Update
from depot.p4runtime.write_errors import UpdateError, WriteFailure, sort_failures
from depot.program import find_compiled_program
from depot.switching.announcer import Announcement
from depot.switching.output import Reconciled
from depot.switching.switch_core import SwitchCore
from softswitch import Switch
from softswitch.errors import EntityError
from softswitch.server.pipeline import Pipeline

__all__ = ["CONFIG", "Host", "World"]

CPU_PORT = 255

CONFIG = """
[[switch]]
name = "edge"
address = "127.0.0.1:1"
[[switch.port]]
number = 1
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.1/24", "fd00:1::1/64"]
[[switch.port]]
number = 2
mac = "02:00:00:00:02:01"
addresses = ["10.2.0.1/24", "fd00:2::1/64"]
mtu = 1400
[[vip]]
name = "web"
address = "10.1.0.100"
port = 80
on_member_failure = "reset"
[[vip.member]]
name = "m1"
address = "10.2.0.11"
port = 8080
[[vip.member]]
name = "m2"
address = "10.2.0.12"
port = 8080
"""


@dataclass
class Host:
    """A host on a port."""

    port: int
    mac: str
    address: str
    awake: bool = True
    """Whether it answers those who ask for its MAC."""
    received: list[Packet] = field(default_factory=list)
    """What came for it, but for ARP and neighbour discovery."""


class World:
    """One switch, its core, hosts, and the time."""

    def __init__(self, text: str = CONFIG) -> None:
        self.now = 1000.0
        self.config: Config = parse(text)
        self.hosts: list[Host] = []
        self.updates: list[Update] = []
        self.notices: list[object] = []
        self.reconciled: list[Reconciled] = []
        self.failures: list[WriteFailure] = []
        self.refuse: Callable[[Update], UpdateError | None] = lambda update: None
        self.connected = False
        self.new_switch()
        self.new_core()

    # Beginnings

    def new_switch(self) -> None:
        """A switch with empty tables."""
        program = find_compiled_program()
        config = p4r.ForwardingPipelineConfig(
            p4info=parse_p4info(p4info_text()), p4_device_config=program.json.read_bytes()
        )
        self.pipeline = Pipeline(config, self._load)
        self.switch = self.pipeline.switch

    def _load(self, config: p4r.ForwardingPipelineConfig) -> Switch:
        clock = lambda: round(self.now * 1e9)  # noqa: E731
        return Switch.load(config.p4info, config.p4_device_config, cpu_port=CPU_PORT, clock=clock)

    def new_core(self) -> None:
        """A controller that has just been started."""
        self.connected = False
        config = self.config
        self.core = SwitchCore(config.switches[0], config.vips, policies=config.policies)
        self.core.set_schedules({vip.name: [m.name for m in vip.members] for vip in self.config.vips}, self.now)

    def connect(self) -> None:
        """The controller becomes primary and reads the tables back."""
        self.connected = True
        self.core.connected(self.entries(), self.now)
        self.settle()

    def disconnect(self, *, superseded: bool = False) -> None:
        """The controller hears and writes nothing more."""
        self.connected = False
        self.core.disconnected(superseded=superseded)

    # The tables

    def entries(self, *tables: Table) -> list[Entry]:
        """What the switch holds."""
        found = []
        for table in tables or tuple(Table):
            for entity in self.pipeline.reader.read(codec().read_table(table)):
                if not entity.table_entry.is_default_action:
                    found.append(codec().decode_entry(entity.table_entry))
        return found

    def table(self, table: Table) -> dict[EntryKey, Entry]:
        """One table by key."""
        return {entry.key: entry for entry in self.entries(table)}

    def write(self, batch: list[Update], *, again: bool = True) -> None:
        """A batch as the client writes it."""
        request = p4r.WriteRequest()
        codec().encode_updates(batch, request)
        errors = [self._write(u, m) for u, m in zip(batch, request.updates, strict=True)]
        retries, failed = sort_failures(batch, errors)
        if retries and again:
            self.write(retries, again=False)
        if failed:
            self.failures += failed
            self.core.failed(failed, self.now)

    def _write(self, update: Update, message: p4r.Update) -> UpdateError:
        self.updates.append(update)
        if (error := self.refuse(update)) is not None:
            return error
        try:
            self.pipeline.writer.apply(message.type, message.entity)
        except EntityError as error:
            return UpdateError(int(error.code), str(error))
        except Exception as error:  # a refusal of the server
            return UpdateError(int(error.code), str(error))  # type: ignore[attr-defined]
        return UpdateError(0, "")

    def written(self, table: Table) -> list[Operation]:
        """The operations on one table since the last call; forgets all others too."""
        found = [operation for operation, entry in self.updates if entry.table is table]
        self.updates.clear()
        return found

    # Packets

    def send(self, port: int, frame: Packet | bytes) -> list[tuple[int, Packet]]:
        """A frame comes in; what leaves because of it, at once and by the controller."""
        left: list[tuple[int, Packet]] = []
        self._process(port, bytes(frame), left)
        self.settle(left)
        return left

    def _process(self, port: int, frame: bytes, left: list[tuple[int, Packet]]) -> None:
        for out_port, packet in self.switch.process(port, frame):
            if out_port == CPU_PORT:
                message = self.pipeline.schema.packet_in.packet_in(packet)
                assert message is not None
                if self.connected:
                    self.core.packet_in(codec().decode_packet_in(message), self.now)
            else:
                self._leave(out_port, Ether(packet), left)

    def _leave(self, port: int, frame: Packet, left: list[tuple[int, Packet]]) -> None:
        left.append((port, frame))
        for host in self.hosts:
            if host.port != port:
                continue
            answer = _neighbour_answer(host, frame)
            if answer is not None and host.awake:
                self._process(port, bytes(answer), left)
            elif frame.dst == host.mac and not frame.haslayer(ARP) and not frame.haslayer(ICMPv6ND_NS):
                host.received.append(frame)

    def _send_out(self, packet: PacketOut, left: list[tuple[int, Packet]]) -> None:
        message = codec().encode_packet_out(packet).packet
        self._process(CPU_PORT, self.pipeline.schema.packet_out.packet_out(message), left)

    def settle(self, left: list[tuple[int, Packet]] | None = None) -> None:
        """Carry messages between switch and core until neither has more to say."""
        left = [] if left is None else left
        for _ in range(100):
            digests = self.switch.take_digests()
            for digest_id, sample in digests if self.connected else ():
                message = p4r.DigestList(digest_id=digest_id)
                members = message.data.add().struct.members
                for value in sample:
                    members.add().bitstring = value.to_bytes(16, "big")
                decoded = codec().decode_digest(message)
                self.core.digest(decoded.name, decoded.samples, self.now)
            output = self.core.take_output(self.now)
            if output.announcements:
                self.tell_peers(output.announcements)
                self.core.announced(self.now)
            self.notices += output.notices
            self.reconciled += output.reconciled
            for packet in output.packets:
                self._send_out(packet, left)
            for batch in (*output.batches, output.connections):
                self.write(batch)
            for packet in output.packets_after:
                self._send_out(packet, left)
            if output.reread:
                tables = [table for table in Table if table is not Table.CONNECTION]
                self.core.reread(self.entries(*tables), self.now)
            work = (output.announcements, output.packets, output.batches, output.connections, output.packets_after)
            if not digests and not any(work):
                return
        raise AssertionError("switch and core go on for ever")

    def tell_peers(self, announcements: Sequence[Announcement]) -> None:
        """What the peers are told; here there are none."""

    # Time

    def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass: timers fire, idle entries are told."""
        end = self.now + seconds
        while self.now < end:
            deadline = self.core.next_deadline()
            ahead = step if deadline is None else min(step, max(deadline - self.now, 0.01))
            self.now = min(end, self.now + ahead)
            self.tick()

    def tick(self) -> None:
        """What is due now is done."""
        self.core.handle_timer(self.now)
        idle = self.switch.idle_entries(round(self.now * 1e9))
        if idle and self.connected:
            messages = [self.pipeline.reader.whole_entry(key).table_entry for key in idle]
            self.core.idle([codec().decode_key(message) for message in messages], self.now)
        self.settle()

    # Hosts

    def host(self, port: int, address: str, *, awake: bool = True) -> Host:
        """A new host; those of one world have different MACs."""
        made = Host(port, f"02:00:00:00:{port:02x}:{0x80 + len(self.hosts):02x}", address, awake)
        self.hosts.append(made)
        return made

    def tcp(
        self, client: Host, sport: int, flags: str, *, to: str = "10.1.0.100", port: int = 80, **more: int
    ) -> Packet:
        """A segment of a client's session with a VIP."""
        ip = IPv6(src=client.address, dst=to) if ":" in to else IP(src=client.address, dst=to)
        mac = format_mac(self.config.switches[0].ports[client.port - 1].mac)
        return Ether(src=client.mac, dst=mac) / ip / TCP(sport=sport, dport=port, flags=flags, **more)

    def reply(self, seen: Packet, flags: str, **more: int) -> Packet:
        """The segment by which a host answers one that came for it."""
        ip = IPv6 if seen.haslayer(IPv6) else IP
        network, segment = seen[ip], seen[TCP]
        back = ip(src=network.dst, dst=network.src) / TCP(sport=segment.dport, dport=segment.sport, flags=flags, **more)
        return Ether(src=seen.dst, dst=seen.src) / back


def _neighbour_answer(host: Host, frame: Packet) -> Packet | None:
    if frame.haslayer(ARP) and frame[ARP].op == 1 and frame[ARP].pdst == host.address:
        asked = frame[ARP]
        return Ether(src=host.mac, dst=frame.src) / ARP(
            op=2, hwsrc=host.mac, psrc=host.address, hwdst=asked.hwsrc, pdst=asked.psrc
        )
    if frame.haslayer(ICMPv6ND_NS) and frame[ICMPv6ND_NS].tgt == host.address:
        asked = frame[IPv6]
        advertisement = ICMPv6ND_NA(tgt=host.address, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=host.mac)
        return Ether(src=host.mac, dst=frame.src) / IPv6(src=host.address, dst=asked.src, hlim=255) / advertisement
    return None
