"""What a running switch counted, as JSON values: the answer to `softswitch stats`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from softswitch.server.device import Device
from softswitch.switch import Switch

if TYPE_CHECKING:
    from softswitch.ports import Port
    from softswitch.ports.interface import InterfaceCounters, KernelCounts

__all__ = ["DROPS", "counter_cells", "device_part", "ports_part", "program_counts", "switch_part"]

_CELLS_AT_ONCE = 4096

DROPS = {
    "no_pipeline": "no program was set",
    "drops": "at the drop port, or for a multicast group without members",
    "passes_exceeded": "resubmitted, recirculated or cloned too often",
    "assertions_failed": "an assert of the program did not hold",
    "packet_ins_dropped": "for the controller, but no primary was there",
    "no_room": "the frame had no room for its new headers",
    "events_lost": "for the controller or the python engine, faster than they were taken",
    "unknown_port": "for a port that does not exist",
    "receive_dropped": "arrived faster than they were switched",
    "oversized": "larger than the MTU: offload is on",
    "undelivered": "sent, but the interface did not take them: the log has the reason",
    "send_dropped": "the kernel did not take them: queue full or interface down",
}
"""Why packets were dropped, by the names of the counters."""


def device_part(device: Device, ports: Sequence[Port], unknown_port: int, kernel: KernelCounts) -> dict[str, Any]:
    """What is counted whatever the program is."""
    stats = asdict(device.stats)
    drops = {name: stats.pop(name) for name in ("no_pipeline", "packet_ins_dropped")}
    drops["unknown_port"] = unknown_port
    for name in ("receive_dropped", "oversized", "send_dropped"):
        drops[name] = sum(getattr(port.stats, name) for port in ports)
    drops["undelivered"] = sum(kernel.undelivered.values())
    return {"device_id": device.device_id, "controller": stats, "drops": drops}


def ports_part(
    ports: Iterable[Port], interfaces: Mapping[str, InterfaceCounters], kernel: KernelCounts
) -> list[dict[str, Any]]:
    """Each port with its own counters, its interface's, and what the kernel switched without passing it."""
    found = []
    for port in ports:
        port.update_counters()
        interface = interfaces.get(port.name)
        one = {"number": port.number, "name": port.name, "open": port.fileno() is not None, **asdict(port.stats)}
        one["interface"] = None if interface is None else interface._asdict()
        one["received"], one["sent"] = kernel.passed.get(port.number, (port.stats.received, port.stats.sent))
        one["undelivered"] = kernel.undelivered.get(port.number, 0)
        found.append(one)
    return found


def program_counts(switch: Switch) -> Counter[str]:
    """What the program counted in both engines, drops among it."""
    stats = Counter(asdict(switch.stats))
    if switch.kernel is not None:
        stats.update(switch.kernel.statistics())
    return stats


def switch_part(switch: Switch) -> dict[str, Any]:
    """The program's packets, drops and tables."""
    stats = program_counts(switch)
    drops = {name: stats.pop(name) for name in DROPS if name in stats}
    tables = [
        {"name": info.name, "entries": switch.entry_count(info.id), "size": info.size}
        for info in switch.p4info.tables.values()
    ]
    return {"program": switch.program.name, "packets": stats, "drops": drops, "tables": tables}


def counter_cells(switch: Switch) -> Iterator[dict[str, Any] | None]:
    """The cells of the program's indirect counters that are not zero; None between them, now and then, as a place to
    give way to packets."""
    for counter in switch.p4info.counters.values():
        for index in range(switch.counter_size(counter.id)):
            value = switch.counter(counter.id, index)
            if value.packets or value.octets:
                yield {"name": counter.name, "index": index, "packets": value.packets, "octets": value.octets}
            elif index % _CELLS_AT_ONCE == _CELLS_AT_ONCE - 1:
                yield None
