"""Sessions that the whole cluster is to know: told before they leave, held, released, expired, handed off, bypassed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scapy.packet import Packet

from depot.address import parse_address, parse_mac
from ptf_tests.case import Case, DropReason, Entry, PacketIn, PuntReason, Step, Submission, Submit
from ptf_tests.cluster import Flow, Peer, policy_rule, unknown_flow
from ptf_tests.network import CLIENT, FAMILIES, MEMBER_1, MEMBER_2, PEER, ROUTER, STRANGER
from ptf_tests.packets import from_switch, icmp_error, ip_header, to_switch
from ptf_tests.services import MODES, PROTOCOLS, Service, Session

__all__ = ["cases"]

HELD = Submit(ingress_port=CLIENT.port, submission=Submission.SUBMIT_HELD)
"""What was held long enough."""


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        for protocol in PROTOCOLS:
            kind = f"ipv{family}_{protocol}"
            for mode in MODES:
                yield released(f"released_{kind}_to_{mode}", Service(family, protocol, mode))
            for outer in FAMILIES:
                yield released_to_peer(f"released_{kind}_to_peer_over_ipv{outer}", Peer(outer), Flow(family, protocol))
            yield released_by_route(f"released_{kind}_by_its_route", Flow(family, protocol))
            yield released_in_vain(f"released_{kind}_in_vain", Service(family, protocol, "nat"))
            yield bypassed(f"bypassed_{kind}", Service(family, protocol, "nat"))
            yield handed_off(f"handed_off_{kind}", Peer(4), Service(family, protocol, "nat", shared=True))
            yield no_member(f"shared_{kind}_no_member", Service(family, protocol, "nat", schedule=(), shared=True))
            yield held(f"held_{kind}", Peer(6), Flow(family, protocol))
            yield outbound(f"outbound_{kind}", Flow(family, protocol, client=MEMBER_1))
            yield shared_errors(f"shared_{kind}_icmp_errors", Service(family, protocol, "dsr", shared=True))
            yield of_a_peer(f"shared_{kind}_from_a_peer", Peer(4), Service(family, protocol, "dsr", shared=True))
        yield told_first(f"shared_ipv{family}_tcp_told_first", Service(family, "tcp", "nat", shared=True))
        yield unknown(f"shared_ipv{family}_tcp_unknown", Service(family, "tcp", "nat", shared=True))
        yield datagrams(f"shared_ipv{family}_udp_told_first", Service(family, "udp", "nat", shared=True))
        yield closing(f"shared_ipv{family}_tcp_ports_used_again", Service(family, "tcp", "nat", shared=True))
        yield outbound_again(f"outbound_ipv{family}_tcp_ports_used_again", Flow(family, "tcp", client=MEMBER_1))
        yield not_the_proxy(f"outbound_ipv{family}_only_of_the_proxy", family)


def new_session(session: Session, index: int, frame: bytes, *, from_peer: bool = False) -> PacketIn:
    """What the controller hears of a session's packet that must wait until the peers know."""
    service, port = session.service, PEER.port if from_peer else CLIENT.port
    ids = (service.member_id(index), service.number)
    return PacketIn(PuntReason.NEW_SESSION, port, frame, *ids, from_peer=int(from_peer))


def asked_first(session: Session, index: int, flags: str = "A", seq: int = 1000, port: int | Submit = 1) -> Step:
    """The client's packet goes to the controller, which hears whose it would be; no digest says so as well."""
    frame = session.request(flags, seq)
    return Step(frame, port, packet_in=new_session(session, index, frame))


def told_first(name: str, service: Service) -> Case:
    """A SYN of a shared VIP takes its turn and waits; what follows, and the same one again, finds the same member."""
    one, two = service.session(), service.session(1)
    steps = (
        asked_first(one, 0, "S"),
        asked_first(two, 1, "S"),
        asked_first(one, 0, "S"),
        asked_first(one, 0, "A", 1001),
        asked_first(two, 1, "FA"),
        asked_first(one, 0, "S", 77),
    )
    return Case(name, steps, service.entries())


def unknown(name: str, service: Service) -> Case:
    """A segment of an unknown session waits for word of it, and is dropped and counted when none has come."""
    session = service.session()
    steps = []
    for flags in ("A", "SA", "FA", "R", "PA"):
        frame = session.request(flags)
        steps.append(Step(frame, CLIENT.port, packet_in=unknown_flow(CLIENT.port, frame)))
        steps.append(Step(frame, HELD, drop=DropReason.HOLD_EXPIRED))
    again = Submit(ingress_port=CLIENT.port, submission=Submission.SUBMIT)
    frame = session.request()
    steps.append(Step(frame, again, packet_in=unknown_flow(CLIENT.port, frame)))
    steps.append(asked_first(session, 0, "S", port=HELD))
    return Case(name, tuple(steps), service.entries())


def datagrams(name: str, service: Service) -> Case:
    """A datagram may be of a peer's session: it waits, and only then begins one here."""
    one, two = service.session(), service.session(1)
    frames = [one.request(), two.request()]
    steps = [Step(frame, CLIENT.port, packet_in=unknown_flow(CLIENT.port, frame)) for frame in frames]
    steps += [asked_first(one, 0, port=HELD), asked_first(two, 1, port=HELD), asked_first(one, 0)]
    return Case(name, tuple(steps), service.entries())


def closing(name: str, service: Service) -> Case:
    """A SYN on the ports of an ended session is the next session, told first; the rest keeps its member meanwhile."""
    session = service.session()
    return Case(
        name,
        (
            Step(session.request(), CLIENT.port, out=(session.delivered(1),)),
            asked_first(session, 0, "S", 5),
            asked_first(session, 0, "A", 6),
        ),
        (*service.entries(), session.known(1, closing=True)),
    )


def no_member(name: str, service: Service) -> Case:
    """Nobody to serve it: dropped at once, and no peer needs to hear of it."""
    opening = "S" if service.protocol == "tcp" else ""
    step = Step(service.session().request(opening), HELD, drop=DropReason.NO_MEMBER)
    return Case(name, (step, step), service.entries())


def shared_errors(name: str, service: Service) -> Case:
    """An ICMP error waits for nobody: it follows a remembered session, and is dropped without one."""
    session, router = service.session(), ROUTER.address(service.family)
    opening = "S" if service.protocol == "tcp" else ""
    quoted = ip_header(service.vip, session.client_address, 60) / session.segment_from(service.port)
    arrives, leaves = (icmp_error("unreachable", router, service.vip, quoted, ttl=ttl) for ttl in (64, 63))
    frame = to_switch(ROUTER, arrives)
    return Case(
        name,
        (
            Step(frame, ROUTER.port, drop=DropReason.NO_SESSION),
            asked_first(session, 0, opening, port=HELD),
            Step(frame, ROUTER.port, out=(from_switch(service.members[0], leaves),)),
        ),
        service.entries(),
    )


def of_a_peer(name: str, peer: Peer, service: Service) -> Case:
    """A SYN that a peer sent here begins a session here; the controller hears that it may not go back."""
    session = service.session()
    opening = "S" if service.protocol == "tcp" else ""
    inner = ip_header(session.client_address, service.vip) / session.segment_to(service.port, opening)
    frame = peer.unwrapped(inner)
    told = new_session(session, 0, frame, from_peer=True)
    if service.protocol == "udp":
        told = unknown_flow(PEER.port, frame, from_peer=True)
    return Case(name, (Step(peer.sends(inner), PEER.port, packet_in=told),), (*service.entries(), *peer.entries()))


def released(name: str, service: Service) -> Case:
    """A released packet goes to its member before there is an entry, tells nothing, and the entry goes on."""
    session, opening = service.session(), "S" if service.protocol == "tcp" else ""
    release = Submit(ingress_port=CLIENT.port, submission=Submission.RELEASE, member_id=service.member_id(1))
    steps = [
        Step(session.request(flags), release, out=(session.delivered(1, flags),)) for flags in (opening, "A", "FA")
    ]
    expired = session.request(ttl=1)
    steps.append(Step(expired, release, packet_in=PacketIn(PuntReason.TTL_EXPIRED, CLIENT.port, expired)))
    return Case(name, tuple(steps), service.entries())


def released_to_peer(name: str, peer: Peer, flow: Flow) -> Case:
    """A peer's flow, before there is an entry: both directions go to it."""
    steps = []
    for host, make in ((CLIENT, flow.there), (STRANGER, flow.back)):
        release = Submit(ingress_port=host.port, submission=Submission.RELEASE, member_id=peer.member_id)
        for flags in (flow.opening, "A", "R"):
            steps.append(Step(to_switch(host, make(flags)), release, out=(peer.gets(make(flags, ttl=63)),)))
    return Case(name, tuple(steps), (*peer.entries(), policy_rule("deny"), flow.entry("deny_connection")))


def released_by_route(name: str, flow: Flow) -> Case:
    """Of a bypassed session, or away from its member: where the route leads, whatever the tables say of it."""
    steps = []
    for submission in (Submission.RELEASE, Submission.RELEASE_FROM_MEMBER):
        release = Submit(ingress_port=CLIENT.port, submission=submission)
        for flags in (flow.opening, "A", "F"):
            out = from_switch(STRANGER, flow.there(flags, ttl=63))
            steps.append(Step(to_switch(CLIENT, flow.there(flags)), release, out=(out,)))
    return Case(name, tuple(steps), (policy_rule("deny"), flow.entry("deny_connection")))


def released_in_vain(name: str, service: Service) -> Case:
    """To a member that is gone; without a route; not for our MAC."""
    session = service.session()
    gone = Submit(ingress_port=CLIENT.port, submission=Submission.RELEASE, member_id=9)
    away = replace(gone, member_id=0)
    elsewhere = bytes.fromhex("020000000209") + session.request()[6:]
    return Case(
        name,
        (
            Step(session.request(), gone, drop=DropReason.MEMBER_GONE),
            Step(session.request(), away, drop=DropReason.NOT_SERVED),
            Step(elsewhere, gone, drop=DropReason.NOT_OUR_MAC),
            Step(session.request()[:-8], away, drop=DropReason.MALFORMED),
            Step(session.request(), replace(away, submission=5), drop=DropReason.BAD_PACKET_OUT),
        ),
        service.entries(),
    )


def bypassed(name: str, service: Service) -> Case:
    """A bypassed session passes untouched in both directions; its flags are told, so that its end is seen."""
    flow = Flow(service.family, service.protocol)
    entry, steps, frames = flow.entry("bypass_connection"), [], []
    for flags in (flow.opening, "A", "FA", "R"):
        for host, other, make in ((CLIENT, STRANGER, flow.there), (STRANGER, CLIENT, flow.back)):
            out = from_switch(other, make(flags, ttl=63, marks=0xB9))
            frames.append(to_switch(host, make(flags, marks=0xB9)))
            told = flow.tcp_event(flags, from_client=host is CLIENT)
            steps.append(Step(frames[-1], host.port, out=(out,), digest=told))
    rule = policy_rule("intercept", params=service.allocation())
    count = (len(frames), sum(map(len, frames)))
    return Case(name, tuple(steps), (*service.entries(), rule, entry), ((entry, count),))


def handed_off(name: str, peer: Peer, service: Service) -> Case:
    """A session of a shared VIP that a peer serves: the schedule is not asked, and its turn stays."""
    off, own = service.session(), service.session(1)
    opening = "S" if service.protocol == "tcp" else ""

    def request(ttl: int, flags: str) -> Packet:
        return ip_header(off.client_address, service.vip, ttl) / off.segment_to(service.port, flags)

    steps = [
        Step(off.request(flags), CLIENT.port, out=(peer.gets(request(63, flags)),)) for flags in (opening, "A", "F")
    ]
    steps.append(asked_first(own, 0, opening, port=HELD))
    entry = off.at_peer(peer.member_id)
    return Case(name, tuple(steps), (*service.entries(), *peer.entries(), entry))


def held(name: str, peer: Peer, flow: Flow) -> Case:
    """Part of a flow that may be a peer's: asked about, released in order, then the entry decides; else it expires."""
    stray = Flow(flow.family, flow.protocol)
    first, second = (to_switch(CLIENT, flow.there(seq=seq)) for seq in (1, 2))
    inner = stray.back()
    release = Submit(ingress_port=CLIENT.port, submission=Submission.RELEASE, member_id=peer.member_id)
    rule = policy_rule("hold", dst_port=(80, 80))
    back = policy_rule("hold", src_port=(80, 80))
    return Case(
        name,
        (
            Step(first, CLIENT.port, packet_in=unknown_flow(CLIENT.port, first)),
            Step(second, CLIENT.port, packet_in=unknown_flow(CLIENT.port, second)),
            Step(first, release, out=(peer.gets(flow.there(seq=1, ttl=63)),)),
            Step(second, release, out=(peer.gets(flow.there(seq=2, ttl=63)),)),
            Step(first, HELD, drop=DropReason.HOLD_EXPIRED),
            Step(
                peer.sends(inner),
                PEER.port,
                packet_in=unknown_flow(PEER.port, peer.unwrapped(inner), from_peer=True),
            ),
        ),
        (*peer.entries(), rule, back),
    )


def claim(host_mac: str, port: int, vip_id: int, member_id: int) -> Entry:
    """Who opens sessions of its own."""
    return Entry(
        "originator_table",
        {"port": port, "mac": parse_mac(host_mac)},
        "claim",
        {"vip_id": vip_id, "member_id": member_id},
    )


def outbound(name: str, flow: Flow) -> Case:
    """A proxy opens a session of its own: told first, whatever the policy is; its entry brings the answers back."""
    member_id, vip_id = 321, 654
    frame = to_switch(MEMBER_1, flow.there(flow.opening))
    known = replace(flow, server_port=8080)
    # the "client" of its entry is the far end, so that what comes from there goes to the proxy
    _, _, client_is_hi = known.endpoints
    entry = known.entry("forward_to_member", member_id=member_id, client_is_hi=int(not client_is_hi), closing=0)
    proxy = Entry(
        "member_table",
        {"member_id": member_id},
        "dsr_to_member",
        {"address": parse_address(MEMBER_2.address(flow.family))},
    )
    answer = known.back("SA" if flow.protocol == "tcp" else "")
    passed = known.back("SA" if flow.protocol == "tcp" else "", ttl=63)
    request, goes = known.there(flow.opening), known.there(flow.opening, ttl=63)
    return Case(
        name,
        (
            Step(
                frame,
                MEMBER_1.port,
                packet_in=PacketIn(PuntReason.OUTBOUND_SESSION, MEMBER_1.port, frame, member_id, vip_id),
            ),
            Step(
                to_switch(MEMBER_1, request),
                MEMBER_1.port,
                out=(from_switch(STRANGER, goes),),
                digest=known.tcp_event(flow.opening, from_client=True),
            ),
            Step(
                to_switch(STRANGER, answer),
                STRANGER.port,
                out=(from_switch(MEMBER_2, passed),),
                digest=known.tcp_event("SA", from_client=False) if flow.protocol == "tcp" else None,
            ),
        ),
        (claim(MEMBER_1.mac, MEMBER_1.port, vip_id, member_id), proxy, entry, policy_rule("deny")),
    )


def outbound_again(name: str, flow: Flow) -> Case:
    """On the ports of a session of its own that has ended a proxy opens another: told first; the rest stays its own."""
    member_id, vip_id = 322, 655
    low_is_far = not flow.endpoints[2]
    entry = flow.entry("forward_to_member", member_id=member_id, client_is_hi=int(low_is_far), closing=1)
    proxy = Entry("member_table", {"member_id": member_id}, "dsr_to_member", {"address": _address(flow)})
    frame = to_switch(MEMBER_1, flow.there("S"))
    told = PacketIn(PuntReason.OUTBOUND_SESSION, MEMBER_1.port, frame, member_id, vip_id)
    steps = [Step(frame, MEMBER_1.port, packet_in=told)]
    for flags in ("A", "FA"):
        out = from_switch(STRANGER, flow.there(flags, ttl=63))
        event = flow.tcp_event(flags, from_client=True)
        steps.append(Step(to_switch(MEMBER_1, flow.there(flags)), MEMBER_1.port, out=(out,), digest=event))
    for flags in ("A", "SA"):
        out = from_switch(MEMBER_1, flow.back(flags, ttl=63))
        event = flow.tcp_event(flags, from_client=False)
        steps.append(Step(to_switch(STRANGER, flow.back(flags)), STRANGER.port, out=(out,), digest=event))
    entries = (claim(MEMBER_1.mac, MEMBER_1.port, vip_id, member_id), proxy, entry, policy_rule("deny"))
    return Case(name, tuple(steps), entries)


def _address(flow: Flow) -> int:
    return parse_address(MEMBER_1.address(flow.family))


def not_the_proxy(name: str, family: int) -> Case:
    """Another MAC, another port, what opens nothing and what is for a VIP are no sessions of the proxy's own."""
    service = Service(family, "tcp", "dsr")
    flow = Flow(family, "tcp", client=MEMBER_1)
    other = replace(flow, client=MEMBER_2)
    session = replace(service.session(), client=MEMBER_1)
    steps = []
    for host, one, flags in (
        (MEMBER_2, other, "S"),
        (CLIENT, replace(flow, client=CLIENT), "S"),
        (MEMBER_1, flow, "A"),
    ):
        out = from_switch(STRANGER, one.there(flags, ttl=63))
        steps.append(Step(to_switch(host, one.there(flags)), host.port, out=(out,)))
    steps.append(
        Step(session.request("S"), MEMBER_1.port, out=(session.delivered(0, "S"),), digest=session.new_flow(0, "S"))
    )
    entries = (claim(MEMBER_1.mac, MEMBER_1.port, 1, 2), claim(CLIENT.mac, MEMBER_1.port, 1, 2))
    return Case(name, tuple(steps), (*service.entries(), *entries))
