"""finsy, the controller's P4Runtime client, against a running switch with the depot's program and ports in memory."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import finsy as fy
import pytest
from sw_fallback.tests.p4runtime_client import DEVICE, PATIENCE, until

from softswitch.daemon import Daemon, Options
from softswitch.ports import MemoryPort

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

BUILD = Path(__file__).parents[2] / "p4src" / "build"
CLIENT, VIP, MEMBER = (f"::ffff:{address}" for address in ("10.0.0.1", "192.0.2.1", "10.0.1.1"))
ROUTER_MAC, CLIENT_MAC, MEMBER_MAC = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:02"


@dataclass
class Running:
    """A switch and its client."""

    daemon: Daemon
    ports: list[MemoryPort]
    client: fy.Switch


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    ports = [MemoryPort(1, "one"), MemoryPort(2, "two")]
    daemon = Daemon(Options(device_id=DEVICE, address="127.0.0.1:0", ports=ports, cpu_port=255))
    await daemon.start()
    options = fy.SwitchOptions(p4info=BUILD / "depot.p4info.txtpb", p4blob=BUILD / "depot.json", device_id=DEVICE)
    async with fy.Switch("softswitch", daemon.address, options) as client:
        yield Running(daemon, ports, client)
    await daemon.stop()


def packed(address: str) -> bytes:
    return IPv4Address(address.rpartition(":")[2]).packed


def tcp_syn(source_port: int = 40_000) -> bytes:
    """An Ethernet frame from the client to the VIP's port 80."""
    ip = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]) + packed(CLIENT) + packed(VIP)
    ip = ip[:10] + _checksum(ip) + ip[12:]
    tcp = source_port.to_bytes(2, "big") + bytes([0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xFF, 0xFF, 0, 0, 0, 0])
    pseudo = packed(CLIENT) + packed(VIP) + bytes([0, 6, 0, len(tcp)])
    tcp = tcp[:16] + _checksum(pseudo + tcp) + tcp[18:]
    ethernet = bytes.fromhex((ROUTER_MAC + CLIENT_MAC).replace(":", "")) + b"\x08\0"
    return ethernet + ip + tcp


def _checksum(data: bytes) -> bytes:
    return (0xFFFF - int.from_bytes(data, "big") % 0xFFFF).to_bytes(2, "big")


def entry(table: str, match: dict[str, object], action: str, **parameters: object) -> fy.P4TableEntry:
    return fy.P4TableEntry(table, match=fy.P4TableMatch(match), action=fy.P4TableAction(action, **parameters))


def service() -> list[fy.P4TableEntry]:
    """A VIP with one member behind NAT, the member's neighbour entry last."""
    return [
        entry("admission_table", {"port": 1, "mac": ROUTER_MAC}, "admit"),
        entry(
            "vip_table", {"address": VIP, "port": 80, "protocol": 6}, "serve_vip", vip_id=1, schedule_size=1, shared=0
        ),
        entry("schedule_table", {"vip_id": 1, "slot": 0}, "assign_member", member_id=7),
        entry("member_table", {"member_id": 7}, "nat_to_member", address=MEMBER, port=8080),
        entry("route_table", {"address": f"{MEMBER}/128"}, "route_connected", port=2, mtu=1500),
        entry(
            "neighbour_table", {"port": 2, "address": MEMBER}, "set_neighbour", src_mac=ROUTER_MAC, dst_mac=MEMBER_MAC
        ),
    ]


async def test_pipeline_entries_digests_packet_ins_and_counters(running: Running) -> None:
    client = running.client
    digest = fy.P4DigestEntry("new_flow_t", max_list_size=1, ack_timeout_ns=10**9)
    *entries, neighbour = service()
    await client.write([*map(operator.pos, entries), +digest])
    first_digest = asyncio.ensure_future(anext(client.read_digests("new_flow_t")))
    first_packet = asyncio.ensure_future(anext(client.read_packets()))
    await asyncio.sleep(0)  # both listen now

    running.ports[0].inject(tcp_syn())
    async with asyncio.timeout(PATIENCE):
        learned = await first_digest
        (flow,) = list(learned)
        await client.write([learned.ack()])
        packet = await first_packet
    assert (flow["vip_id"], flow["member_id"], flow["protocol"]) == (1, 7, 6)
    assert packet["ingress_port"] == 1
    assert packet.payload == tcp_syn()

    await client.write([+neighbour])
    running.ports[0].inject(tcp_syn())
    await until(lambda: running.ports[1].sent)
    frame = running.ports[1].sent.popleft()
    assert frame[:12] == bytes.fromhex((MEMBER_MAC + ROUTER_MAC).replace(":", ""))
    assert (frame[30:34], frame[36:38]) == (packed(MEMBER), (8080).to_bytes(2, "big"))

    read = [one async for one in client.read([fy.P4DirectCounterEntry("vip_counter")])]
    assert [one.packet_count for one in read] == [2]
    reasons = [one async for one in client.read([fy.P4CounterEntry("drops")])]
    assert len(reasons) > 10


async def test_everything_is_read_and_deleted(running: Running) -> None:
    client = running.client
    await client.write(map(operator.pos, service()))
    read = [one async for one in client.read([fy.P4TableEntry()])]
    assert {one.table_id for one in read if isinstance(one, fy.P4TableEntry)} == {one.table_id for one in service()}
    await client.delete_all()
    assert [one async for one in client.read([fy.P4TableEntry()])] == []


async def test_errors_name_the_update(running: Running) -> None:
    with pytest.raises(fy.P4ClientError) as error:
        await running.client.write([+service()[0], +service()[0], -service()[1]])
    details = error.value.details
    assert sorted(details) == [1, 2]
    assert details[1].canonical_code == fy.GRPCStatusCode.ALREADY_EXISTS
    assert details[2].canonical_code == fy.GRPCStatusCode.NOT_FOUND
