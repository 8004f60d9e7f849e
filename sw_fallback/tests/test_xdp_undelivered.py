"""Frames that the kernel redirects to a port and cannot send are counted, by reason."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sw_fallback.tests.entities_program import COUNT_AND_FORWARD, JSON_PATH, MAC, P4INFO_PATH
from sw_fallback.tests.namespace import Namespace, namespace

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment, Object, membarrier_global, run_live
from softswitch.engine.xdp.undelivered import Reason, Undelivered
from softswitch.entities import ActionCall, Exact, TableEntry, TableKey
from softswitch.kernel_ports import KernelPorts
from softswitch.ports import PacketSocketPort
from softswitch.switch import Switch

REASON = why_not()
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]

PATIENCE = 20.0
IN, OUT = 4, 7
"""Ports."""
REDIRECTING = f"""
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct interfaces {{ __u16 port[1 << 20]; }};
struct {{
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 1);
	__type(key, __u32); __type(value, struct interfaces);
}} port_of SEC(".maps");
struct {{
	__uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 512); __type(key, __u32); __type(value, __u32);
}} ports SEC(".maps");

SEC("xdp") int redirect(struct xdp_md *ctx)
{{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&port_of, &zero) ? bpf_redirect_map(&ports, {OUT}, 0) : XDP_ABORTED;
}}
"""


@dataclass
class Wire:
    """`far_in` - `near_in` -> `near_out` - `far_out`: what comes in is redirected out."""

    space: Namespace
    program: Object
    undelivered: Undelivered

    def send(self, frames: int, length: int = 60) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("far_in", 0))
            for _ in range(frames):
                sender.send(bytes(length))

    def ethtool(self, *arguments: str) -> None:
        subprocess.run(["ethtool", "-K", *arguments], check=True, capture_output=True)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with namespace() as space, Object.load(compile_object(REDIRECTING), name="redirecting") as program:
        for one, other in (("near_in", "far_in"), ("near_out", "far_out")):
            space.veth(one, other)
        near_in, near_out = socket.if_nametoindex("near_in"), socket.if_nametoindex("near_out")
        port_of = program.maps["port_of"].memory().cast("H")
        port_of[near_in], port_of[near_out] = IN + 1, OUT + 1
        program.maps["ports"].update(struct.pack("=I", OUT), struct.pack("=I", near_out))
        undelivered = Undelivered(program.maps["port_of"], program.maps["ports"])
        made = Wire(space, program, undelivered)
        made.ethtool("far_out", "gro", "on")
        with Attachment.attach(program.programs["redirect"], near_in):
            yield made
        undelivered.close()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        membarrier_global()


def test_what_leaves_is_not_counted(wire: Wire) -> None:
    received = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with received:
        received.bind(("far_out", 0))
        received.settimeout(PATIENCE)
        wire.send(5)
        for _ in range(5):
            received.recv(2048)
    assert wire.undelivered.by_port() == {}


def test_a_peer_without_gro(wire: Wire) -> None:
    wire.ethtool("far_out", "gro", "off")
    wire.send(5)
    eventually(lambda: wire.undelivered.by_port() == {OUT: {Reason.NO_RECEIVER: 5}})


def test_an_interface_that_is_down(wire: Wire) -> None:
    wire.space.ip("link", "set", "near_out", "down")
    wire.send(3)
    eventually(lambda: wire.undelivered.by_port() == {OUT: {Reason.IS_DOWN: 3}})


def test_a_frame_above_the_mtu(wire: Wire) -> None:
    wire.space.ip("link", "set", "near_out", "mtu", "500")
    wire.send(2, length=600)
    eventually(lambda: wire.undelivered.by_port() == {OUT: {Reason.TOO_LONG: 2}})


def test_frames_of_another_program_are_not_counted(wire: Wire) -> None:
    wire.space.ip("link", "set", "near_out", "down")
    with Object.load(compile_object(REDIRECTING), name="other") as other:
        near_in, near_out = socket.if_nametoindex("near_in"), socket.if_nametoindex("near_out")
        other.maps["ports"].update(struct.pack("=I", OUT), struct.pack("=I", near_out))
        run_live(other.programs["redirect"], bytes(60), ingress_ifindex=near_in, repeat=10)
    wire.send(1)
    eventually(lambda: wire.undelivered.by_port() != {})
    assert wire.undelivered.by_port() == {OUT: {Reason.IS_DOWN: 1}}


def test_the_switch_says_what_to_do_about_it_once(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.space.veth("near3", "far3")
    wire.ethtool("far3", "gro", "off")
    switch = Switch.load(P4INFO_PATH, JSON_PATH, kernel=XdpEngine)
    ports = KernelPorts([PacketSocketPort(1, "near_out"), PacketSocketPort(3, "near3")])
    assert isinstance(switch.kernel, XdpEngine)
    ports.activate(switch.kernel)
    switch.insert(TableEntry(TableKey(MAC, (Exact(5),)), ActionCall(COUNT_AND_FORWARD, (3,))))
    switch.flush()
    engine = switch.kernel
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("far_out", 0))
        for _ in range(4):
            sender.send((5).to_bytes(6, "big") + bytes(54))
    eventually(lambda: engine.undelivered() == {socket.if_nametoindex("near3"): 4})
    ports.look_after()
    ports.look_after()
    assert [record.getMessage() for record in caplog.records if "frames" in record.getMessage()] == [
        "frames sent to 3@near3 are dropped by the driver: a veth's peer needs an XDP program or GRO"
        " (ethtool -K PEER gro on)"
    ]
    ports.close()
    switch.close()
