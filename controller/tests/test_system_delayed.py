"""The seed's Fig. 1, with a delay in the control channel: answers arrive at B before the word of their connection."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from controller.tests.system_lab import NEEDS

from depot.demo import cluster_network as network
from depot.demo.cluster_story import ClusterStory
from depot.demo.configuration import toml_table
from depot.demo.lab import Lab, missing_programs, wait_until
from depot.demo.member import introduce
from depot.demo.proxied import fetch
from depot.demo.screen import Screen
from depot.demo.topology import FAMILIES

pytestmark = [
    *NEEDS,
    pytest.mark.skipif(
        bool(missing_programs(("nft", "nginx", "curl", "squid"))), reason="needs nft, nginx, curl, squid"
    ),
]

HERE = Path(__file__).parent
RELAY_PORT = 5646
UDP_PORT = 5300
DATAGRAMS = 50
REQUESTS = 5
HOLD_TIME = "400ms"
"""Longer than by default: what a busy machine adds is a smaller part of it."""
SOON, LATE = 0.3, 0.45
"""Seconds that each byte of the channel waits: nearly the hold time, and longer."""


@contextmanager
def delayed_cluster(delay: float) -> Iterator[ClusterStory]:
    """Both members and Squids, in a cluster whose channel is a relay; a rule and proxies for datagrams beside HTTP."""
    with Lab() as lab:
        story = ClusterStory(lab, Screen(sys.stderr), {})
        story.set_up()
        serve = [sys.executable, str(HERE / "numbered.py"), "serve", str(UDP_PORT)]
        lab.start(network.SERVER.node, "numbered", *serve)  # it listens long before the members have met
        for member in story.members:
            member.box.stop_controller()
        introduce(lab, story.members)
        for member in story.members:
            (peer,) = member.peers
            own, there = member.site.control.address(4), peer.control.address(4)
            port = peer.channel.rpartition(":")[2]
            relay = [sys.executable, str(HERE / "delaying_relay.py"), own, str(RELAY_PORT), there, port, str(delay)]
            lab.start(member.site.node, f"relay-{member.name}", *relay)
            member.configure(network.OFFICE)
            text = member.box.config_file.read_text().replace("[cluster]\n", f'[cluster]\nhold_time = "{HOLD_TIME}"\n')
            text = text.replace(f'address = "{peer.channel}"', f'address = "{own}:{RELAY_PORT}"')
            member.box.config_file.write_text(text + datagrams(member.site.squid.address(4)))
            member.start_controller()
        wait_until(lambda: all(m.meets(o) for m, o in story._pairs()), 15.0, "the members have met")
        yield story


def datagrams(proxy: str) -> str:
    """A rule and the proxies for UDP."""
    clients = [network.OFFICE.prefix(family) for family in FAMILIES]
    rule = {"name": "numbers", "client": clients, "protocol": "udp", "port": UDP_PORT}
    return "\n" + "\n".join(
        (
            toml_table("[[policy]]", rule | {"action": "intercept", "to": "relays"}),
            toml_table("[[vip]]", {"name": "relays", "transparent": True, "protocol": "udp"}),
            toml_table("[vip.health]", {"type": "none"}),
            toml_table("[[vip.member]]", {"name": "relay", "address": proxy}),
        )
    )


def numbers(story: ClusterStory, family: int, port: int) -> list[int]:
    """What a proxy behind A gets that asks the server in the client's name; every answer arrives at B."""
    argv = [sys.executable, str(HERE / "numbered.py"), "ask", network.CLIENT.address(family), str(port)]
    argv += [network.SERVER.address(family), str(UDP_PORT), str(DATAGRAMS)]
    return json.loads(story.lab.run(story.members[0].site.squid.node, *argv))  # type: ignore[no-any-return]


def counts_of_b(story: ClusterStory) -> dict[str, int]:
    """What B has counted of held packets."""
    (row,) = story.members[1].cluster_status()["switches"]
    return row  # type: ignore[no-any-return]


def test_what_is_held_until_just_before_the_hold_time_is_whole_and_in_order() -> None:
    with delayed_cluster(SOON) as story:
        for family in FAMILIES:
            assert numbers(story, family, 50_000 + family) == list(range(DATAGRAMS))
        held = counts_of_b(story)
        assert held["held"] >= 2 * DATAGRAMS
        assert (held["expired"], held["overflowed"], held["refused"]) == (0, 0, 0)

        for family in FAMILIES:
            begun = time.monotonic()
            answers = fetch(story.lab, network.CLIENT.node, network.SERVER.address(family), REQUESTS)
            assert all(answer.served for answer in answers)
            assert time.monotonic() - begun > REQUESTS * SOON, "the answers did not wait for the word of them"
        held = counts_of_b(story)
        assert held["held"] >= 2 * (DATAGRAMS + REQUESTS)
        assert (held["expired"], held["overflowed"], held["refused"]) == (0, 0, 0)


def test_what_waits_longer_than_the_hold_time_is_dropped_and_counted() -> None:
    with delayed_cluster(LATE) as story:
        assert numbers(story, 4, 50_004) == []
        assert counts_of_b(story)["expired"] == DATAGRAMS
        assert numbers(story, 4, 50_004) == list(range(DATAGRAMS)), "once it is known, it is forwarded"
