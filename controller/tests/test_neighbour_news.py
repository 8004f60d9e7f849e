"""Hosts that tell everyone of their new MAC unasked: the next packet for them goes there."""

from __future__ import annotations

import pytest
from controller.tests.test_switch_core import Bench
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from depot.address import parse_address, parse_mac
from depot.p4runtime.entry import EntryKey, Table
from depot.p4runtime.reconcile import Operation

NEW_MAC = "02:00:00:00:02:ee"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.mark.parametrize("operation", [1, 2], ids=["request", "reply"])
def test_gratuitous_arp_of_a_member(operation: int) -> None:
    bench = Bench()
    member = bench.establish(4000)
    member.mac = NEW_MAC
    news = ARP(op=operation, hwsrc=NEW_MAC, psrc=member.address, pdst=member.address)
    bench.quiet()
    assert bench.world.send(2, Ether(src=NEW_MAC, dst=BROADCAST) / news) == [], "nobody asked us anything"
    assert bench.world.written(Table.NEIGHBOUR) == [Operation.MODIFY]
    assert bench.say(4000, "A", seq=4001) is member


def test_an_unsolicited_neighbour_advertisement() -> None:
    bench = Bench()
    mac, address = "02:00:00:00:01:dd", "fd00:1::50"
    asks = ICMPv6ND_NS(tgt="fd00:1::1") / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    ip = IPv6(src=address, dst="ff02::1:ff00:1", hlim=255)
    bench.world.send(1, Ether(src=mac, dst="33:33:ff:00:00:01") / ip / asks)
    key = EntryKey(Table.NEIGHBOUR, (1, parse_address(address)))
    assert bench.world.table(Table.NEIGHBOUR)[key].params[1] == parse_mac(mac)
    news = ICMPv6ND_NA(tgt=address, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
    ip = IPv6(src=address, dst="ff02::1", hlim=255)
    bench.world.send(1, Ether(src=NEW_MAC, dst="33:33:00:00:00:01") / ip / news)
    assert bench.world.table(Table.NEIGHBOUR)[key].params[1] == parse_mac(NEW_MAC)


def test_news_of_what_is_no_neighbour_here() -> None:
    bench = Bench()
    before = bench.world.table(Table.NEIGHBOUR)
    for address in ("10.2.0.1", "10.1.0.100", "192.0.2.9", "10.1.0.50"):
        news = ARP(op=1, hwsrc=NEW_MAC, psrc=address, pdst=address)
        bench.world.send(2, Ether(src=NEW_MAC, dst=BROADCAST) / news)
    assert bench.world.table(Table.NEIGHBOUR) == before
