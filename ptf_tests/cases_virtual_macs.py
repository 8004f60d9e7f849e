"""One gateway address, many gateways: who asks is told the virtual MAC of its bucket, by its owner and nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from depot.address import parse_mac
from ptf_tests.case import Case, DropReason, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.cases_responder import BROADCAST, NOBODY, advertise, group_mac, seen, solicit
from ptf_tests.gateways import GATEWAY, PORT, SERIES, VirtualMacs, lan_host, virtual_mac_entry
from ptf_tests.network import FAMILIES, Host, our_mac
from ptf_tests.packets import arp, frame, ping

__all__ = ["cases"]

HOW = {"mod": False, "crc": True}
"""Names of the two ways to a bucket, and `by_crc`."""
SIZES = (1, 16, 256, 4096)


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for how, by_crc in HOW.items():
        for size in SIZES:
            yield told_by_owner(f"virtual_mac_told_by_{how}_of_{size}", VirtualMacs(size, by_crc))
        for series, macs in SERIES.items():
            yield told_to_series(f"virtual_macs_by_{how}_of_{series}", VirtualMacs(256, by_crc), macs)
    for family in FAMILIES:
        yield asked_elsewhere(family)
        yield asked_while_watched(family)
        yield pinged(family)
        yield pinged_by_series(family)
    yield duplicate_address_detection()
    yield probed()
    yield heard_by_all()
    yield broken_asks()
    yield other_addresses()
    yield submitted()


@dataclass(frozen=True, slots=True)
class Ask:
    """A host asks for the gateway address, and what it is answered."""

    host: Host
    family: int
    macs: VirtualMacs

    @property
    def question(self) -> bytes:
        """To all who may have the address."""
        asked, host = GATEWAY[self.family], self.host
        if self.family == 4:
            return frame(host.mac, BROADCAST, arp(1, host.mac, host.ipv4, NOBODY, asked))
        return frame(host.mac, group_mac(asked), solicit(asked, host))

    @property
    def answer(self) -> bytes:
        """With the virtual MAC of the asker's bucket."""
        asked, host, mac = GATEWAY[self.family], self.host, self.macs.of(self.host)
        if self.family == 4:
            return frame(mac, host.mac, arp(2, mac, asked, host.mac, host.ipv4))
        return frame(mac, host.mac, advertise(asked, host.ipv6, mac, solicited=True))

    def answered(self, port: int | Submit = PORT) -> Step:
        """By the switch itself."""
        return Step(self.question, port, out=((PORT, self.answer),), digest=seen(self.host, self.family))

    def ignored(self) -> Step:
        """Not ours to answer; but who asks is a neighbour."""
        return Step(self.question, PORT, digest=seen(self.host, self.family))

    def handed_over(self, port: int | Submit = PORT) -> Step:
        """The controller has the answer."""
        return Step(self.question, port, packet_in=self.told(self.answer), digest=seen(self.host, self.family))

    def told(self, answer: bytes) -> PacketIn:
        """What the controller hears."""
        return PacketIn(PuntReason.ASKED, PORT, answer, int(self.family == 6), parse_mac(self.host.mac))


def told_by_owner(name: str, macs: VirtualMacs) -> Case:
    """Hosts with near and far MACs, by ARP and by neighbour discovery."""
    hosts = [lan_host(mac) for mac in (*SERIES["consecutive"][::75], *SERIES["steps_of_256"][::75], 0x02FFFFFFFFFF)]
    hosts.append(lan_host())
    steps = [Ask(host, family, macs).answered() for host in hosts for family in FAMILIES]
    return Case(name, tuple(steps), (*macs.address_entries(), *macs.held(*hosts)))


def probe(host: Host, destination: str) -> bytes:
    """An ARP request of a host without an address (RFC 5227), which tells nobody of a neighbour."""
    return frame(host.mac, destination, arp(1, host.mac, "0.0.0.0", NOBODY, GATEWAY[4]))


def probe_answer(host: Host, mac: str) -> bytes:
    """Its answer."""
    return frame(mac, host.mac, arp(2, mac, GATEWAY[4], host.mac, "0.0.0.0"))


def told_to_series(name: str, macs: VirtualMacs, series: Sequence[int]) -> Case:
    """All the hosts of one of the seed's experiments. Half of their virtual MACs are owned here."""
    hosts = [lan_host(mac) for mac in series]
    owned = macs.held(*hosts[::2])
    ours = {entry.match["mac"] for entry in owned}
    steps = []
    for host in hosts:
        mac = macs.of(host)
        out = ((PORT, probe_answer(host, mac)),) if parse_mac(mac) in ours else ()
        steps.append(Step(probe(host, BROADCAST), PORT, out=out))
    return Case(name, tuple(steps), (*macs.address_entries(), *owned))


def asked_elsewhere(family: int) -> Case:
    """Of two buckets the one is ours; the same virtual MAC at another port is not."""
    macs = VirtualMacs(256, by_crc=False)
    ours, theirs, elsewhere = (lan_host(0x02_00_00_0B_10_00 + number) for number in (1, 2, 3))
    steps = (
        Ask(ours, family, macs).answered(),
        Ask(theirs, family, macs).ignored(),
        Ask(elsewhere, family, macs).ignored(),
    )
    at_another = virtual_mac_entry(macs.of(elsewhere), "own", at=2)
    return Case(f"ipv{family}_ask_of_another_gateway", steps, (*macs.address_entries(), *macs.held(ours), at_another))


def asked_while_watched(family: int) -> Case:
    """The answer goes to the controller, which emits it, or not."""
    macs, host, again = VirtualMacs(), lan_host(), lan_host()
    ask = Ask(host, family, macs)
    steps = (
        ask.handed_over(),
        Step(ask.answer, Submit(egress_port=PORT), out=((PORT, ask.answer),)),
        Ask(again, family, macs).handed_over(),
    )
    held = macs.held(host, again, action="watch")
    return Case(f"ipv{family}_ask_while_watched", steps, (*macs.address_entries(), *held))


def duplicate_address_detection() -> Case:
    """A host means to have the gateway's address: it alone hears of it, since the virtual MAC is its own alone."""
    macs = VirtualMacs()
    owned, watched, foreign = lan_host(), lan_host(), lan_host()
    asked = GATEWAY[6]

    def question(host: Host) -> bytes:
        return frame(host.mac, group_mac(asked), solicit(asked, host, src="::", option=False))

    def answer(host: Host) -> bytes:
        mac = macs.of(host)
        return frame(mac, host.mac, advertise(asked, "ff02::1", mac, solicited=False))

    steps = (
        Step(question(owned), PORT, out=((PORT, answer(owned)),)),
        Step(question(watched), PORT, packet_in=Ask(watched, 6, macs).told(answer(watched))),
        Step(question(foreign), PORT),
    )
    held = (*macs.held(owned), *macs.held(watched, action="watch"))
    return Case("duplicate_address_detection_of_the_gateway", steps, (*macs.address_entries(), *held))


def probed() -> Case:
    """Hosts that ask the virtual MAC itself whether it still has the address (RFC 1122, 2.3.2.1; RFC 4861, 7.3)."""
    macs, owned, watched, foreign = VirtualMacs(), lan_host(), lan_host(), lan_host()
    steps = []
    for host in (owned, watched, foreign):
        question, answer = probe(host, macs.of(host)), probe_answer(host, macs.of(host))
        told = PacketIn(PuntReason.ASKED, PORT, answer, 0, parse_mac(host.mac)) if host is watched else None
        steps.append(Step(question, PORT, out=((PORT, answer),) if host is owned else (), packet_in=told))
    to_us = frame(owned.mac, macs.of(owned), solicit(GATEWAY[6], owned))
    advertised = advertise(GATEWAY[6], owned.ipv6, macs.of(owned), solicited=True)
    answered = ((PORT, frame(macs.of(owned), owned.mac, advertised)),)
    steps.append(Step(to_us, PORT, out=answered, digest=seen(owned, 6)))
    held = (*macs.held(owned), *macs.held(watched, action="watch"))
    return Case("virtual_mac_probed", tuple(steps), (*macs.address_entries(), *held))


def heard_by_all() -> Case:
    """Answers to the gateway address and news are no asks: nothing is answered, whoever owns the bucket."""
    macs, steps, hosts = VirtualMacs(), [], [lan_host() for _ in range(4)]
    for host in hosts[:2]:
        reply = frame(host.mac, macs.of(host), arp(2, host.mac, host.ipv4, macs.of(host), GATEWAY[4]))
        steps.append(Step(reply, PORT, digest=seen(host, 4)))
        advertisement = advertise(host.ipv6, GATEWAY[6], host.mac, solicited=True, router=False)
        steps.append(Step(frame(host.mac, macs.of(host), advertisement), PORT, digest=seen(host, 6)))
    for host in hosts[2:]:
        news = frame(host.mac, BROADCAST, arp(1, host.mac, host.ipv4, NOBODY, host.ipv4))
        steps.append(Step(news, PORT, digest=seen(host, 4)))
    held = (*macs.held(hosts[0]), *macs.held(hosts[1], hosts[2], action="watch"))
    return Case("gateway_address_answered_to", tuple(steps), (*macs.address_entries(), *held))


def pinged(family: int) -> Case:
    """The host's own virtual MAC answers; while it is watched too, since a frame for it is ours. TTLs do not matter."""
    macs, steps = VirtualMacs(), []
    owned, watched, foreign = lan_host(), lan_host(), lan_host()
    gateway = GATEWAY[family]
    for host in (owned, watched):
        for ttl, data in ((64, b"ping"), (1, b"odd")):
            question = frame(host.mac, macs.of(host), ping(host.address(family), gateway, ttl=ttl, data=data))
            answer = frame(macs.of(host), host.mac, ping(gateway, host.address(family), reply=True, data=data))
            steps.append(Step(question, PORT, out=((PORT, answer),)))
    unknown = frame(foreign.mac, macs.of(foreign), ping(foreign.address(family), gateway))
    steps.append(Step(unknown, PORT, drop=DropReason.NOT_OUR_MAC))
    # To a MAC of ours that is not this host's the ping is a packet like others, for an address that serves nothing.
    for mac in (macs.of(owned), our_mac(PORT)):
        misled = frame(foreign.mac, mac, ping(foreign.address(family), gateway))
        steps.append(Step(misled, PORT, drop=DropReason.NOT_SERVED))
    held = (*macs.held(owned), *macs.held(watched, action="watch"))
    return Case(f"ping_ipv{family}_of_the_gateway", tuple(steps), (*macs.address_entries(), *held))


def pinged_by_series(family: int) -> Case:
    """Each of the seed's hosts by its virtual MAC."""
    macs, steps = VirtualMacs(4096), []
    hosts = [lan_host(mac) for mac in SERIES["steps_of_256"][::8]]
    for host in hosts:
        question = frame(host.mac, macs.of(host), ping(host.address(family), GATEWAY[family]))
        answer = frame(macs.of(host), host.mac, ping(GATEWAY[family], host.address(family), reply=True))
        steps.append(Step(question, PORT, out=((PORT, answer),)))
    return Case(f"ping_ipv{family}_of_the_gateway_by_many", tuple(steps), (*macs.address_entries(), *macs.held(*hosts)))


def broken_asks() -> Case:
    """Cut short, or from another link: dropped, whoever would answer."""
    macs, host = VirtualMacs(), lan_host()
    steps = [
        Step(Ask(host, family, macs).question[:length], PORT, drop=DropReason.MALFORMED)
        for family, lengths in ((4, (15, 41)), (6, (53, 57, 77, 85)))
        for length in lengths
    ]
    off_link = frame(host.mac, group_mac(GATEWAY[6]), solicit(GATEWAY[6], host, hop_limit=254))
    steps.append(Step(off_link, PORT, drop=DropReason.MALFORMED))
    return Case("asks_for_the_gateway_broken", tuple(steps), (*macs.address_entries(), *macs.held(host)))


def other_addresses() -> Case:
    """The port's own address has the router's MAC, whatever virtual MACs there are; others are not our business."""
    macs, host, mac = VirtualMacs(), lan_host(), our_mac(PORT)
    own = "10.0.1.1"
    asked_own = frame(host.mac, BROADCAST, arp(1, host.mac, host.ipv4, NOBODY, own))
    answer = frame(mac, host.mac, arp(2, mac, own, host.mac, host.ipv4))
    asked_other = frame(host.mac, macs.of(host), arp(1, host.mac, host.ipv4, NOBODY, "10.0.1.77"))
    steps = (
        Step(asked_own, PORT, out=((PORT, answer),), digest=seen(host, 4)),
        Step(asked_other, PORT, drop=DropReason.FOREIGN_NEIGHBOUR),
    )
    return Case("other_addresses_beside_the_gateways", steps, (*macs.address_entries(), *macs.held(host)))


def submitted() -> Case:
    """Asks by packet-out fare as those of the wire."""
    macs, owned, watched = VirtualMacs(), lan_host(), lan_host()
    submit = Submit(ingress_port=PORT, submission=Submission.SUBMIT)
    steps = []
    for family in FAMILIES:
        steps += [Ask(owned, family, macs).answered(submit), Ask(watched, family, macs).handed_over(submit)]
    held: tuple[Entry, ...] = (*macs.held(owned), *macs.held(watched, action="watch"))
    return Case("asks_for_the_gateway_submitted", tuple(steps), (*macs.address_entries(), *held))
