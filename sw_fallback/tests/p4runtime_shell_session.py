"""What an operator does in p4runtime-shell, as a script; run by the Python that has the shell installed.

Arguments: address, P4Info, BMv2 JSON, interface whose other end is port 1. Prints one JSON object of what it saw.
The program is `p4/p4runtime_entities.p4`.
"""

import json
import socket
import sys

import p4runtime_sh.p4runtime as p4rt
import p4runtime_sh.shell as sh

PATIENCE = 20
FRAME = bytes.fromhex("0200000000090200000000070800") + b"from the wire"


def write_read_delete() -> dict[str, object]:
    """Entries of every kind of match, changed and removed."""
    seen: dict[str, object] = {}
    entry = sh.TableEntry("mac_table")(action="count_and_forward", metadata=b"shell")
    entry.match["dst"] = "02:00:00:00:00:09"
    entry.action["port"] = "1"
    entry.insert()
    try:
        entry.insert()
    except p4rt.P4RuntimeWriteException as error:
        seen["inserted twice"] = [one.canonical_code for _, one in error.errors]
    entry.action["port"] = "2"
    entry.modify()
    acl = sh.TableEntry("acl_table")(action="mark", priority=7)
    acl.match["src"] = "02:00:00:00:00:00&&&ff:00:00:00:00:00"
    acl.match["ether_type"] = "0x86dd..0x86de"
    acl.insert()
    route = sh.TableEntry("route_table")(action="ingress.drop")
    route.match["dst"] = "03:00:00:00:00:00/8"
    route.insert()
    for name in ("mac_table", "acl_table", "route_table"):
        seen[name] = [str(one.msg()) for one in sh.TableEntry(name).read()]
    for one in (acl, route):
        one.delete()
        seen[f"{one.name} left"] = len(list(sh.TableEntry(one.name).read()))
    default = sh.TableEntry("mac_table")(action="drop", is_default=True)
    default.modify()
    seen["default"] = [one.action.msg().action_id for one in sh.TableEntry("mac_table")(is_default=True).read()]
    sh.TableEntry("mac_table")(is_default=True).modify()
    return seen


def selectors_and_replication() -> dict[str, object]:
    """Members, a group, a multicast group, a clone session."""
    for number in (1, 2):
        member = sh.ActionProfileMember("uplinks")(member_id=number, action="ingress.forward")
        member.action["port"] = str(number)
        member.insert()
    group = sh.ActionProfileGroup("uplinks")(group_id=1, max_size=4)
    group.add(1, 2).add(2, 1)
    group.insert()
    uplink = sh.TableEntry("uplink_table")(group_id=1)
    uplink.match["ether_type"] = "0x9000"
    uplink.insert()
    sh.MulticastGroupEntry(1).add(1, 1).add(2, 1).insert()
    sh.CloneSessionEntry(10).add(1, 1).insert()
    seen: dict[str, object] = {
        "group": [(one.member_id, one.weight) for one in next(iter(sh.ActionProfileGroup("uplinks").read())).members],
        "members": len(list(sh.ActionProfileMember("uplinks").read())),
        "multicast": [str(one.msg()) for one in sh.MulticastGroupEntry().read()],
        "clone": [str(one.msg()) for one in sh.CloneSessionEntry().read()],
    }
    uplink.delete()
    group.delete()
    return seen


def packets_and_counters(interface: str) -> dict[str, object]:
    """A packet from the wire to the shell, one from the shell to the wire, digests and what was counted."""
    packets, digests = sh.PacketIn(), sh.DigestList()
    digest = sh.DigestEntry("learned_t")
    digest.max_list_size = 1
    digest.insert()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((interface, 3))
        wire.settimeout(PATIENCE)
        for entry in sh.TableEntry("ingress.mac_table").read():
            wire.send(FRAME)
            hit = entry
        wire.send(FRAME[6:12] + FRAME[:6] + FRAME[12:])
        packet_in = packets.packet_in_queue.get(timeout=PATIENCE).packet
        sh.PacketOut(b"from the shell, to the wire", egress_port="1", padding="0").send()
        received = wire.recv(2048)
        while received != b"from the shell, to the wire":
            received = wire.recv(2048)
    direct = sh.DirectCounterEntry("mac_counter")
    direct.table_entry = hit
    learned = [digests.digest_list_queue.get(timeout=PATIENCE).digest for _ in range(2)]
    return {
        "packet in": [packet_in.payload.hex(), [one.value.hex() for one in packet_in.metadata]],
        "direct counter": [(one.packet_count, one.byte_count) for one in direct.read()],
        "port counter": [(one.index, one.packet_count) for one in sh.CounterEntry("port_counter").read()],
        "one cell": [one.packet_count for one in sh.CounterEntry("port_counter")(index=1).read()],
        "learned": sorted(one.data[0].struct.members[0].bitstring.hex() for one in learned),
    }


def main() -> int:
    """Run the session."""
    address, p4info, config, interface = sys.argv[1:]
    sh.setup(1, address, (0, 1), config=sh.FwdPipeConfig(p4info, config), verbose=False)
    try:
        seen: dict[str, object] = {"api": sh.APIVersion()}
        seen |= write_read_delete()
        seen |= selectors_and_replication()
        seen |= packets_and_counters(interface)
        for entry in sh.TableEntry("mac_table").read():
            entry.delete()
        seen["mac_table left"] = len(list(sh.TableEntry("mac_table").read()))
    finally:
        sh.teardown()
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
