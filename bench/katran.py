"""Nanoseconds per packet of Katran's balancer, a hand-written XDP program for one job: IPv4 in IPv4, an established TCP
flow and new ones. Its compiled object is not part of this project: DEPOT_BENCH_KATRAN names the file.

Its layouts of keys and values are those of its own headers, with none of its optional features compiled in. The frame
is 64 bytes; of the time of a packet that of rewinding the frame and of a bare XDP_TX is taken off.
"""

from __future__ import annotations

import ipaddress
import os
import struct
import time
from pathlib import Path
from types import TracebackType

from bench.harness import Reference, Row, publish
from bench.rewinding import Frames, Load, Rewinder, Timing, flow_of_turn
from depot.address import Endpoint, parse_address, parse_mac
from depot.switching.frames import ip_frame, ip_packet, transport_checksum
from softswitch.engine.xdp.kernel import Map, Object, possible_cpus
from softswitch.engine.xdp.libbpf import check, library

__all__ = ["FLOWS", "OBJECT", "Katran", "measure", "tcp_frame"]

COMMAND = "make bench NAME=katran"
OBJECT = "DEPOT_BENCH_KATRAN"
"""Environment variable with the path of the compiled `balancer.bpf.c`."""
FLOWS = 1 << 20
"""A million, as a power of two."""
VIP = Endpoint(parse_address("192.0.2.80"), 80)
CLIENT = Endpoint(parse_address("10.0.0.0"), 1024)
"""Of flow 0."""
REALS = ("10.0.2.1", "10.0.2.2")
ROUTER = bytes.fromhex("020000000009")
_ACK, _SYN = 0x10, 0x02
_XDP_TX = 3
_TCP, _IPIP = 6, 4
_RING = 65_537
"""Slots of one VIP's hash ring."""
_LRU_HASH = 9
_SESSIONS = 4_000_000
"""Of one core's connection table: the default of eight million, on two cores."""
_NEW_FLOWS = 1 << 24
_NEW_IN_A_ROUND = 100_000
"""Past 125 000 new flows in a second on one core it stops to write them down."""
_VIPS = 512
_LRU_MISSES = _VIPS + 1
"""Where `stats` counts the packets that miss the connection table: SYNs first, then others."""


class Katran:
    """The balancer with one VIP and two members by IP-in-IP; a context manager."""

    def __init__(self, elf: bytes) -> None:
        """Raises `KernelError` if it cannot be loaded or has other maps."""
        self._object = Object.load(elf, name="katran")
        self._sessions = Map(check(library().bpf_map_create(_LRU_HASH, b"sessions", 40, 16, _SESSIONS, None), "LRU"))
        self._fill()

    @property
    def program(self) -> int:
        """File descriptor."""
        return self._object.programs["balancer_ingress"]

    def __enter__(self) -> Katran:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.close()
        self._object.close()

    def know(self, frames: Frames) -> None:
        """Write every flow of the frames into the connection table."""
        vip, ports = _padded(VIP.address), struct.pack("!HB3x", VIP.port, _TCP)
        sources = map(frames.endpoint, range(frames.flows))
        keys = b"".join(address.ljust(16, b"\0") + vip + struct.pack("!H", port) + ports for address, port in sources)
        values = b"".join(struct.pack("=I4xQ", 1 + flow % len(REALS), 0) for flow in range(frames.flows))
        self._sessions.update_batch(keys, values)

    def misses(self) -> tuple[int, int]:
        """SYNs and other packets so far that were not in the connection table."""
        counters = self._object.maps["stats"].lookup(struct.pack("=I", _LRU_MISSES)) or b""
        numbers = struct.unpack(f"={len(counters) // 8}Q", counters)
        return sum(numbers[::2]), sum(numbers[1::2])

    def _fill(self) -> None:
        maps, first = self._object.maps, bytes(4)
        maps["ctl_array"].update(first, ROUTER.ljust(8, b"\0"))
        maps["vip_map"].update(_padded(VIP.address) + struct.pack("!HBx", VIP.port, _TCP), bytes(8))
        for number, real in enumerate(REALS, 1):
            maps["reals"].update(struct.pack("=I", number), ipaddress.IPv4Address(real).packed.ljust(20, b"\0"))
        slots = struct.pack(f"={_RING}I", *range(_RING))
        maps["ch_rings"].update_batch(slots, struct.pack(f"={_RING}I", *(1 + n % len(REALS) for n in range(_RING))))
        for cpu in range(possible_cpus()):  # only one core is measured at a time
            maps["lru_mapping"].update(struct.pack("=I", cpu), struct.pack("=I", self._sessions.fd))


def _padded(address: int) -> bytes:
    """An IPv4 address as its unions hold it."""
    return (address & 0xFFFFFFFF).to_bytes(4, "big").ljust(16, b"\0")


def tcp_frame(flags: int = _ACK) -> bytes:
    """Flow 0: 64 bytes from the client to the VIP."""
    start = struct.pack("!HHIIBBH", CLIENT.port, VIP.port, 1, 1, 5 << 4, flags, 8192)
    payload = b"0123456789"
    total = transport_checksum(CLIENT.address, VIP.address, _TCP, start + bytes(4) + payload)
    packet = ip_packet(CLIENT.address, VIP.address, _TCP, start + struct.pack("!HH", total, 0) + payload)
    return ip_frame(parse_mac("02:00:00:00:00:02"), parse_mac("02:00:00:00:00:01"), packet)


def established(katran: Katran, flows: int) -> Timing:
    """Of a packet of a known flow. Exits if a packet was not of one, or was not encapsulated."""
    frames = Frames(tcp_frame(), flows)
    katran.know(frames)
    before = katran.misses()
    with Rewinder(frames) as rewinder:
        verdict, made = rewinder.packets(katran.program, 2)
        if verdict != _XDP_TX or made[23] != _IPIP or made[34:] != frames.frame(flow_of_turn(1, flows))[14:]:
            raise SystemExit(f"not encapsulated: verdict {verdict}, {made.hex()}")
        timing = rewinder.time(katran.program)
    if katran.misses() != before:
        raise SystemExit("packets of established flows were taken for new ones: nothing to measure")
    return timing


def new_flows(katran: Katran) -> Timing:
    """Of a SYN that is written down. Exits if one was not new."""
    load = Load(_NEW_IN_A_ROUND, rounds=5, warm_up=1000, before_round=lambda: time.sleep(1.1))
    before = katran.misses()[0]
    with Rewinder(Frames(tcp_frame(_SYN), _NEW_FLOWS)) as rewinder:
        timing = rewinder.time(katran.program, load)
    if katran.misses()[0] - before != load.warm_up + load.rounds * load.repeat:
        raise SystemExit("a SYN was no new flow: nothing to measure")
    return timing


def measure() -> dict[str, Timing] | None:
    """Timings of "1 flow", "1 million flows" and "new flow"; None, with the reason printed, without its object."""
    path = os.environ.get(OBJECT)
    if not path:
        print(f"Katran not measured: {OBJECT} names no compiled balancer.bpf.c")
        return None
    with Katran(Path(path).read_bytes()) as katran:
        return {
            "1 flow": established(katran, 1),
            "1 million flows": established(katran, FLOWS),
            "new flow": new_flows(katran),
        }


def main() -> None:
    timings = measure()
    if timings is None:
        return
    rows = []
    for what, timing in timings.items():
        bare = Reference("rewinding and bare XDP_TX", timing.rewinding)
        rows.append(Row(f"Katran, IP-in-IP, {what}", timing.net, "ns/packet", COMMAND, bare, spread=timing.spread))
    publish(__file__, "Katran's time per packet", rows)


if __name__ == "__main__":
    main()
