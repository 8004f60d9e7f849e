"""Gateways that share one address, with real kernels on both sides of them: whatever becomes of the gateways, the hosts
do not notice (seed 004, 3.3)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controller.tests.gateway_lab import GATEWAYS, HOSTS, LEFT, SERVER, SHARED, GatewayLab
from controller.tests.system_lab import NEEDS

from depot.demo.lab import Lab, Process, wait_until

pytestmark = NEEDS

HERE = Path(__file__).parent
ASKS_A_SECOND = 1000
BASE, COUNT = "028888888800", "256"


@pytest.fixture(scope="module")
def gateways() -> Iterator[GatewayLab]:
    with Lab() as lab:
        yield GatewayLab.build(lab)


def start(lab: GatewayLab, namespace: str, name: str, script: str, *words: object) -> Process:
    """Start one of our small programs."""
    return lab.lab.start(namespace, name, sys.executable, str(HERE / script), *map(str, words))


def result(process: Process, seconds: float) -> dict[str, object]:
    """What a program prints at its end."""
    wait_until(lambda: not process.running, seconds, f"{process.name} ends")
    answer: dict[str, object] = json.loads(process.log.read_text().splitlines()[-1])
    return answer


def test_sessions_survive_moves_leaves_deaths_and_joins(gateways: GatewayLab):
    gateways.hold_sessions()
    gateways.expect_all_exchange()
    gateways.move("0-255", "g1")  # all at once
    gateways.expect_all_exchange()
    gateways.move("0-127", "g2")
    gateways.expect_all_exchange()
    gateways.kill("g1")
    gateways.wait_settled(("g2", "g3"))
    gateways.expect_all_exchange()
    gateways.start("g1")
    gateways.wait_settled(GATEWAYS)
    gateways.expect_all_exchange()
    gateways.stop("g2")
    gateways.wait_settled(("g1", "g3"))
    gateways.expect_all_exchange()
    gateways.start("g2")
    gateways.wait_settled(GATEWAYS)
    gateways.expect_all_exchange()
    gateways.end_sessions()


def test_a_restarted_controller_takes_its_place_again(gateways: GatewayLab):
    gateways.hold_sessions(2)
    gateways.boxes["g3"].kill_controller()
    gateways.expect_all_exchange()  # its switch goes on
    gateways.boxes["g3"].start_controller()
    gateways.wait_settled(GATEWAYS)
    gateways.expect_all_exchange()
    gateways.end_sessions()


def test_a_gateway_without_its_switch_is_silent_until_it_has_it_again(gateways: GatewayLab):
    gateways.hold_sessions(2)
    gateways.boxes["g2"].kill_switch()
    gateways.wait_settled(("g1", "g3"))
    gateways.expect_all_exchange()
    assert gateways.status("g2")["state"] == "silent: our switch cannot be reached"
    assert gateways.boxes["g2"].command("vmac", "status").returncode == 1
    done = gateways.boxes["g2"].command("vmac", "move", "0", "g1")
    assert "our switch cannot be reached, so this gateway takes part in nothing" in done.stderr
    gateways.boxes["g2"].start_switch()
    gateways.wait_settled(GATEWAYS)
    gateways.expect_all_exchange()
    gateways.end_sessions()


def test_strangers_are_refused_counted_and_told(gateways: GatewayLab):
    before = gateways.status("g1")["counts"]
    script = (
        "import socket\n"
        "plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for data in (b'', b'garbage', bytes(100), bytes(range(200))):\n"
        "    plug.sendto(data, ('192.0.2.1', 7947))\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "wire.bind(('port1', 0))\n"
        "head = bytes.fromhex('038888888800' + '028888888805' + '88b5')\n"
        "for data in (b'', b'acknowledged', bytes(90)):\n"
        "    wire.send(head + data)\n"
    )
    gateways.lab.run("g3", sys.executable, "-c", script)
    wait_until(lambda: gateways.status("g1")["counts"]["malformed"] >= before["malformed"] + 4, 5.0, "they are counted")
    counts = gateways.status("g1")["counts"]
    assert counts["forged"] >= before["forged"] + 2
    assert "is refused, forged" in gateways.boxes["g1"].tell("events", "--last", "30")
    gateways.wait_settled(GATEWAYS, 5.0)


def test_no_packet_is_lost_or_doubled_by_moves_and_nobody_else_gets_them(gateways: GatewayLab):
    gateways.move("0-127", "g1")
    gateways.move("128-255", "g2")  # g3 owns nothing
    echo = start(gateways, SERVER.node, "echo", "datagram_stream.py", "echo", 7001)
    wait_until(lambda: "listening" in echo.log.read_text(), 5.0, "the echo listens")
    watch = start(gateways, "lan", "flooding", "frame_count.py", "left-103", BASE, COUNT)
    wait_until(lambda: watch.log.read_text(), 5.0, "frames are counted")
    streams = [
        start(gateways, leg.node, f"stream-{leg.node}", "datagram_stream.py", "send", SERVER.address(4), 7001, 8, 200)
        for leg in HOSTS
    ]
    time.sleep(1.0)
    flooded = int(watch.log.read_text().split()[-1])
    for buckets, to in (("0-127", "g2"), ("0-255", "g1"), ("64-191", "g2")):
        gateways.move(buckets, to)
    flooded = int(watch.log.read_text().split()[-1]) - flooded
    found = [result(stream, 20.0) for stream in streams]
    echo.stop()
    watch.stop()
    print(f"streams {found}, frames flooded to a gateway that owns nothing: {flooded}")
    assert [one["twice"] for one in found] == [0, 0, 0]
    assert [one["came"] for one in found] == [one["sent"] for one in found]
    assert flooded == 0


def test_each_ask_has_one_answer_while_buckets_move(gateways: GatewayLab):
    gateways.move("0-255", "g1")
    words = [LEFT.name, 10, ASKS_A_SECOND, SHARED[LEFT].address(4), SHARED[LEFT].address(6)]
    storm = start(gateways, HOSTS[1].node, "storm", "ask_storm.py", *words)
    time.sleep(2.0)
    for buckets, to in (("0-63", "g2"), ("64-127", "g3"), ("0-31", "g3"), ("0-63", "g1")):
        gateways.move(buckets, to)
    answer = result(storm, 30.0)
    print({key: value for key, value in answer.items() if key != "wrong"}, answer["wrong"])
    assert answer["more"] == 0
    assert answer["none"] == 0
    assert answer["one"] == answer["asks"] == 10 * ASKS_A_SECOND
