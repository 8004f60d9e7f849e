"""The LAN behind virtual MACs in entries: who is answered, whose frames are ours, and which MAC hosts see."""

from __future__ import annotations

import zlib

from controller.tests.test_config_vmac import SELF, SWITCH

from depot.address import parse_address
from depot.config import parse
from depot.p4runtime.entry import Action, Entry, Table, neighbour_entry
from depot.switching.lan import Service
from depot.switching.routing import NextHop, Routing
from depot.switching.switch_core import SwitchCore

CONFIG = parse(SWITCH + SELF)
HOST = parse_address("10.1.0.11")
MAC = 0x525400000011
BUCKET = zlib.crc32(MAC.to_bytes(6, "big")) & 255
BASE = 0x028888888800
BY_BUCKET = (BASE, 255, 1)


def core() -> SwitchCore:
    found = SwitchCore(CONFIG.switches[0], CONFIG.vips, vmac=CONFIG.vmac)
    found.connected([], 0.0)
    return found


def written(found: SwitchCore, now: float = 0.0) -> list[tuple[str, Entry]]:
    output = found.take_output(now)
    return [(operation.name, entry) for batch in output.batches for operation, entry in batch]


def test_the_shared_address_is_answered_by_bucket_and_routed_to_nobody():
    entries = [entry for _, entry in written(core())]
    for address in ("10.1.0.1", "fd00:1::1"):
        asked = Entry(Table.LOCAL_ADDRESS, (1, parse_address(address)), Action.ANSWER_BY_BUCKET, BY_BUCKET)
        assert asked in entries
        assert Entry(Table.ROUTE, (parse_address(address), 128), Action.ROUTE_LOCAL) in entries
    assert Entry(Table.VIRTUAL_MAC, (1, BASE | 1 << 40), Action.WATCH) in entries
    assert not [entry for entry in entries if entry.table is Table.VIRTUAL_MAC and entry.values[0] == 2]


def test_buckets_are_written_as_they_come_and_go():
    found = core()
    written(found)
    found.lan.serve({3: Service(Action.OWN), 4: Service(Action.WATCH)})
    assert written(found) == [
        ("INSERT", Entry(Table.VIRTUAL_MAC, (1, BASE | 3), Action.OWN)),
        ("INSERT", Entry(Table.VIRTUAL_MAC, (1, BASE | 4), Action.WATCH)),
    ]
    found.lan.serve({4: Service(Action.OWN)})
    assert sorted(written(found)) == [
        ("DELETE", Entry(Table.VIRTUAL_MAC, (1, BASE | 3), Action.OWN)),
        ("MODIFY", Entry(Table.VIRTUAL_MAC, (1, BASE | 4), Action.OWN)),
    ]


def test_only_hosts_that_we_serve_get_frames_from_a_virtual_mac():
    found = core()
    written(found)
    found.digest("neighbour_seen_t", [(1, HOST, MAC)], 1.0)
    other = neighbour_entry(1, HOST, 0x02DE00000001, MAC)
    ours = Entry(Table.NEIGHBOUR, (1, HOST), Action.SET_NEIGHBOUR_BY_BUCKET, (MAC, *BY_BUCKET))
    assert written(found) == [("INSERT", other)]
    found.lan.serve({BUCKET: Service(Action.OWN)})
    assert ("MODIFY", ours) in written(found)
    found.lan.serve({BUCKET: Service(Action.WATCH)})
    assert ("MODIFY", other) in written(found)


def test_what_the_switch_serves_stays_until_we_know_better():
    found = SwitchCore(CONFIG.switches[0], CONFIG.vips, vmac=CONFIG.vmac)
    held = Entry(Table.VIRTUAL_MAC, (1, BASE | 7), Action.OWN)
    found.connected([held], 0.0)
    assert held.key not in [entry.key for _, entry in written(found)]
    found.lan.serve({})
    assert written(found) == [("DELETE", held)]


def test_a_reload_keeps_what_is_served_unless_the_virtual_macs_are_others():
    found = core()
    found.lan.serve({3: Service(Action.OWN)})
    written(found)
    found.reconfigure(CONFIG.switches[0], CONFIG.vips, {}, 1.0, vmac=CONFIG.vmac)
    assert written(found) == []
    other = parse(SWITCH + SELF.replace("ports = [1]\n", "ports = [1]\ncount = 128\n")).vmac
    found.reconfigure(CONFIG.switches[0], CONFIG.vips, {}, 2.0, vmac=other)
    assert ("MODIFY", Entry(Table.LOCAL_ADDRESS, (1, parse_address("10.1.0.1")), Action.ANSWER_BY_BUCKET,
                            (BASE, 127, 1))) in written(found)  # fmt: skip


def test_news_goes_to_one_host_with_its_own_virtual_mac():
    routing = Routing(CONFIG.switches[0], CONFIG.vmac)
    frame = routing.lan_news(NextHop(1, HOST), MAC)
    assert frame is not None
    assert frame[:6] == MAC.to_bytes(6, "big")
    assert frame[6:12] == (BASE | BUCKET).to_bytes(6, "big")
    assert frame[20:22] == b"\0\2"  # a reply (RFC 826)
    assert frame[22:32] == (BASE | BUCKET).to_bytes(6, "big") + bytes([10, 1, 0, 1])
    v6 = routing.lan_news(NextHop(1, parse_address("fd00:1::11")), MAC)
    assert v6 is not None
    assert v6[54] == 136  # a neighbour advertisement (RFC 4861, 4.4)
    assert routing.lan_news(NextHop(2, parse_address("10.9.0.5")), MAC) is None
