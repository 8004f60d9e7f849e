"""ICMP errors that concern a session follow it, in both directions; what they quote is translated too."""

from __future__ import annotations

from collections.abc import Iterator

from scapy.packet import Packet

from ptf_tests.case import Case, DropReason, Step
from ptf_tests.network import CLIENT, FAMILIES, ROUTER, STRANGER, our_address
from ptf_tests.packets import ERRORS, from_switch, icmp_error, ip_header, to_switch
from ptf_tests.services import MEMBER_PORT, MODES, PROTOCOLS, Service, Session

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Every case of this module."""
    for family in FAMILIES:
        for protocol in PROTOCOLS:
            for mode in MODES:
                name = f"icmp_errors_for_{mode}_ipv{family}_{protocol}"
                yield towards_member(name, Service(family, protocol, mode))
            yield from_member(f"icmp_errors_of_nat_member_ipv{family}_{protocol}", Service(family, protocol, "nat"))
            yield on_the_way_back(f"icmp_errors_on_the_way_ipv{family}_{protocol}", Service(family, protocol, "nat"))
            yield of_no_session(f"icmp_error_of_no_session_ipv{family}_{protocol}", Service(family, protocol, "nat"))


def quote(src: str, dst: str, head: Packet, like: Packet | None = None) -> Packet:
    """A packet as an error quotes it; `like` lends the TCP or UDP checksum, which no rewrite touches."""
    packet = ip_header(src, dst, ttl=60) / head
    if like is not None:
        packet.payload.chksum = _checksum(like)
    return packet


def _checksum(packet: Packet) -> int:
    """The TCP or UDP checksum of a packet that scapy has yet to fill in."""
    filled = packet.__class__(bytes(packet))
    checksum = filled.payload.chksum
    assert isinstance(checksum, int)
    return checksum


def quoted_answer(session: Session, *, translated_to: str | None = None) -> Packet:
    """The VIP's segment to the client, as a router on the client's side quotes it; or as the member knows it."""
    service = session.service
    original = quote(service.vip, session.client_address, session.segment_from(service.port))
    if translated_to is None:
        return original
    return quote(translated_to, session.client_address, session.segment_from(MEMBER_PORT), like=original)


def quoted_request(session: Session, member: str, *, translated: bool) -> Packet:
    """The client's segment as it reached the NAT member, quoted; or as the client knows it."""
    original = quote(session.client_address, member, session.segment_to(MEMBER_PORT))
    if not translated:
        return original
    vip = session.service.vip
    return quote(session.client_address, vip, session.segment_to(session.service.port), like=original)


def towards_member(name: str, service: Service) -> Case:
    """A router on the client's side complains about the VIP's packet: the error goes to the session's member."""
    session = service.session()
    router = ROUTER.address(service.family)
    steps = []
    for kind in ERRORS:
        arrives = icmp_error(kind, router, service.vip, quoted_answer(session))
        if service.mode == "nat":
            member = service.member_address(1)
            quoted = quoted_answer(session, translated_to=member)
            leaves = icmp_error(kind, router, member, quoted, ttl=63)
        else:
            leaves = service.wrap(1, icmp_error(kind, router, service.vip, quoted_answer(session), ttl=63))
        steps.append(Step(to_switch(ROUTER, arrives), ROUTER.port, out=(from_switch(service.members[1], leaves),)))
    return Case(name, tuple(steps), (*service.entries(), session.known(1)))


def from_member(name: str, service: Service) -> Case:
    """The NAT member itself complains: the client hears it from the VIP, about the packet it sent."""
    session = service.session()
    member, host = service.member_address(1), service.members[1]
    steps = []
    for kind in ERRORS:
        arrives = icmp_error(kind, member, session.client_address, quoted_request(session, member, translated=False))
        quoted = quoted_request(session, member, translated=True)
        leaves = icmp_error(kind, service.vip, session.client_address, quoted, ttl=63)
        steps.append(Step(to_switch(host, arrives), host.port, out=(from_switch(CLIENT, leaves),)))
    return Case(name, tuple(steps), (*service.entries(), session.known(1)))


def on_the_way_back(name: str, service: Service) -> Case:
    """A router between depot and member complains: it stays the author; the quotation is the client's packet."""
    session = service.session(client=STRANGER)
    member, host = service.member_address(1), service.members[1]
    router = host.address(service.family).replace("11", "77").replace("12", "77")
    steps = []
    for kind in ERRORS:
        arrives = icmp_error(kind, router, session.client_address, quoted_request(session, member, translated=False))
        quoted = quoted_request(session, member, translated=True)
        leaves = icmp_error(kind, router, session.client_address, quoted, ttl=63)
        steps.append(Step(to_switch(host, arrives), host.port, out=(from_switch(STRANGER, leaves),)))
    return Case(name, tuple(steps), service.entries())


def of_no_session(name: str, service: Service) -> Case:
    """An error takes no slot; one whose quotation is not from its receiver is a forgery."""
    session = service.session()
    router = ROUTER.address(service.family)
    stray = icmp_error("unreachable", router, service.vip, quoted_answer(session))
    forged = icmp_error("unreachable", router, our_address(ROUTER.port, service.family), quoted_answer(session))
    opening = "S" if service.protocol == "tcp" else ""
    return Case(
        name,
        (
            Step(to_switch(ROUTER, stray), ROUTER.port, drop=DropReason.NO_SESSION),
            Step(to_switch(ROUTER, forged), ROUTER.port, drop=DropReason.MALFORMED),
            Step(
                session.request(opening),
                CLIENT.port,
                out=(session.delivered(0, opening),),
                digest=session.new_flow(0, opening),
            ),
            Step(to_switch(ROUTER, stray), ROUTER.port, out=(_delivered_error(session, stray),)),
        ),
        service.entries(),
    )


def _delivered_error(session: Session, stray: Packet) -> tuple[int, bytes]:
    """What the first member gets of the error, now that the session is remembered."""
    service = session.service
    member = service.member_address(0)
    leaves = icmp_error("unreachable", stray.src, member, quoted_answer(session, translated_to=member), ttl=63)
    return from_switch(service.members[0], leaves)
