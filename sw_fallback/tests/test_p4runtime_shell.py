"""p4runtime-shell, a client that shares no code with this project, against a running switch.

It lives in a virtual environment of its own: it wants a protobuf too old for everything else here.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from finsy.proto import p4r
from google.protobuf import text_format
from sw_fallback.tests.entities_program import COUNT_AND_FORWARD, DROP, JSON_PATH, MARK, P4INFO_PATH, canonical
from sw_fallback.tests.namespace import namespace
from sw_fallback.tests.softswitch_process import PATIENCE, ROOT, SoftswitchProcess

SHELL = ROOT / ".venv-p4rt-shell" / "bin" / "python"
SESSION = Path(__file__).with_name("p4runtime_shell_session.py")
FRAME = bytes.fromhex("0200000000070200000000090800") + b"from the wire"

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace"),
    pytest.mark.skipif(not SHELL.exists(), reason="p4runtime-shell is not installed: `make test` installs it"),
]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What the shell saw."""
    with namespace(enter=False) as space:
        space.veth("one", "two")
        with SoftswitchProcess("-i", "1@one", "--cpu-port", "255", prefix=space.exec()) as switch:
            ran = subprocess.run(
                [*space.exec(str(SHELL), str(SESSION)), switch.address, str(P4INFO_PATH), str(JSON_PATH), "two"],
                capture_output=True,
                text=True,
                timeout=4 * PATIENCE,
                check=False,
            )
    assert ran.returncode == 0, ran.stderr + switch.log
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def entries(seen: dict[str, Any], table: str) -> list[p4r.TableEntry]:
    return [text_format.Parse(text, p4r.TableEntry()) for text in seen[table]]


def test_entries_of_every_kind_are_written_changed_and_read(seen: dict[str, Any]) -> None:
    (mac,) = entries(seen, "mac_table")
    assert mac.match[0].exact.value == canonical(0x020000000009)
    assert mac.action.action.action_id == COUNT_AND_FORWARD
    assert (mac.action.action.params[0].value, mac.metadata) == (b"\x02", b"shell")
    (acl,) = entries(seen, "acl_table")
    assert (acl.priority, acl.action.action.action_id) == (7, MARK)
    assert (acl.match[0].ternary.value, acl.match[0].ternary.mask) == (b"\x02" + bytes(5), b"\xff" + bytes(5))
    assert (acl.match[1].range.low, acl.match[1].range.high) == (b"\x86\xdd", b"\x86\xde")
    (route,) = entries(seen, "route_table")
    assert (route.match[0].lpm.value, route.match[0].lpm.prefix_len) == (b"\x03" + bytes(5), 8)
    assert seen["default"] == [DROP]


def test_entries_are_deleted_and_a_second_insert_is_refused(seen: dict[str, Any]) -> None:
    assert [seen[f"{table} left"] for table in ("mac_table", "acl_table", "route_table")] == [0, 0, 0]
    assert seen["inserted twice"] == [6]


def test_selectors_and_replication(seen: dict[str, Any]) -> None:
    assert (seen["members"], seen["group"]) == (2, [[1, 2], [2, 1]])
    (multicast,) = seen["multicast"]
    group = text_format.Parse(multicast, p4r.PacketReplicationEngineEntry()).multicast_group_entry
    assert [(one.egress_port, one.instance) for one in group.replicas] == [(1, 1), (2, 1)]
    (clone,) = seen["clone"]
    session = text_format.Parse(clone, p4r.PacketReplicationEngineEntry()).clone_session_entry
    assert (session.session_id, session.replicas[0].egress_port) == (10, 1)


def test_packets_digests_and_counters(seen: dict[str, Any]) -> None:
    assert seen["packet in"] == [FRAME.hex(), ["01", "01", "00"]]
    assert seen["learned"] == ["020000000007", "020000000009"]
    assert seen["direct counter"] == [[1, len(FRAME)]]
    assert seen["port counter"] == [[index, 2 if index == 1 else 0] for index in range(8)]
    assert seen["one cell"] == [2]


def test_it_sees_the_version(seen: dict[str, Any]) -> None:
    assert seen["api"] == "1.4.1"
