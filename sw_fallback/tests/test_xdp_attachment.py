"""XDP programs on veth interfaces, live frames, and pins: in a network namespace of the test's own."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sw_fallback.tests.namespace import Namespace, namespace
from sw_fallback.tests.xdp_kernel_programs import (
    COUNTING,
    FRAME,
    XDP_DROP,
    XDP_PASS,
    attached_program,
    counting,
    descriptors,
    kernel_names,
    u32,
    u64,
)

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import (
    Attachment,
    KernelError,
    Map,
    Object,
    membarrier_global,
    open_pin,
    pin,
    pin_folder,
    run,
    run_live,
    unpin,
)

REASON = why_not()
pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}"),
]
PATIENCE = 20
"""Seconds for what the kernel does by and by."""


@pytest.fixture
def space() -> Iterator[Namespace]:
    with namespace() as made:
        made.veth("one", "two")
        yield made


@pytest.fixture
def one(space: Namespace) -> int:
    return socket.if_nametoindex("one")


@pytest.fixture
def dropping() -> Iterator[Object]:
    """Its program `count` counts in `seen` and drops."""
    with counting(rodata={"verdict": bytes([XDP_DROP])}) as made:
        yield made


@pytest.fixture
def bpffs(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "bpffs"
    place.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def seen(counted: Object) -> int:
    return int(counted.maps["seen"].memory().cast("Q")[1])


def send(interface: str, frames: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for _ in range(frames):
            sender.send(FRAME)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel does in its own time: each look comes after a grace period."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        membarrier_global()


class TestAttachment:
    def test_every_frame_meets_the_program(self, one: int, dropping: Object) -> None:
        with Attachment.attach(dropping.programs["count"], one) as there:
            assert there.ifindex == one
            assert there.program_id == attached_program(one)
            send("two", 50)
            eventually(lambda: seen(dropping) == 50)
        assert attached_program(one) == 0
        there.close()

    def test_another_program_takes_over_without_a_gap(self, one: int, dropping: Object) -> None:
        with (
            counting(reuse={"seen": dropping.maps["seen"].fd}, rodata={"step": u64(1 << 32)}) as second,
            Attachment.attach(dropping.programs["count"], one) as there,
        ):
            sender = threading.Thread(target=send, args=("two", 3000))
            sender.start()
            for fd in (second.programs["count"], dropping.programs["count"]) * 20:
                there.update(fd)
            sender.join()
            eventually(lambda: sum(divmod(seen(dropping), 1 << 32)) == 3000)
            there.update(second.programs["count"])
            assert there.program_id == attached_program(one)

    def test_it_goes_with_its_interface(self, space: Namespace, one: int, dropping: Object) -> None:
        with Attachment.attach(dropping.programs["count"], one) as there:
            space.ip("link", "del", "one")
            assert there.ifindex == 0
            with pytest.raises(KernelError, match="cannot be replaced"):
                there.update(dropping.programs["shorten"])

    def test_no_such_interface(self, space: Namespace, dropping: Object) -> None:
        with pytest.raises(KernelError, match="there is no interface 4242 in this network namespace"):
            Attachment.attach(dropping.programs["count"], 4242)

    def test_a_driver_without_native_xdp(self, space: Namespace, dropping: Object) -> None:
        with pytest.raises(KernelError, match="attached to lo: its driver has no native XDP"):
            Attachment.attach(dropping.programs["count"], socket.if_nametoindex("lo"))

    def test_two_at_once(self, one: int, dropping: Object) -> None:
        with Attachment.attach(dropping.programs["count"], one):
            with pytest.raises(KernelError, match=r"to one: another one is attached already .*`\)$") as caught:
                Attachment.attach(dropping.programs["shorten"], one)
            assert caught.value.errno == errno.EBUSY
        Attachment.attach(dropping.programs["shorten"], one).close()

    def test_an_mtu_that_is_too_large(self, space: Namespace, one: int, dropping: Object) -> None:
        space.ip("link", "set", "two", "mtu", "9000")
        with pytest.raises(KernelError, match=r"the MTU of its peer must be at most \d+ bytes$") as caught:
            Attachment.attach(dropping.programs["count"], one)
        limit = int(str(caught.value).partition("at most ")[2].partition(" bytes")[0])
        space.ip("link", "set", "two", "mtu", str(limit + 1))
        with pytest.raises(KernelError):
            Attachment.attach(dropping.programs["count"], one)
        space.ip("link", "set", "two", "mtu", str(limit))
        Attachment.attach(dropping.programs["count"], one).close()
        assert attached_program(one) == 0

    def test_what_is_no_link(self, dropping: Object) -> None:
        before = descriptors()
        with pytest.raises(KernelError, match="is no BPF link"):
            Attachment(os.dup(dropping.programs["count"]))
        assert descriptors() == before

    def test_a_killed_process_leaves_nothing(self, space: Namespace, one: int) -> None:
        code = (
            "import socket, sys\n"
            "from softswitch.engine.xdp.kernel import Attachment, Object\n"
            "loaded = Object.load(sys.stdin.buffer.read(), name='killed')\n"
            "loaded.maps['kb_killed'].memory()\n"
            "there = Attachment.attach(loaded.programs['kb_killed_count'], socket.if_nametoindex('one'))\n"
            "print('attached', flush=True)\n"
            "import signal; signal.pause()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(compile_object(COUNTING, extra_flags=["-DSEEN=kb_killed", "-Dcount=kb_killed_count"]))
            child.stdin.close()
            assert child.stdout.readline() == b"attached\n"
            assert attached_program(one) != 0
            child.send_signal(signal.SIGKILL)
            child.wait()
        assert attached_program(one) == 0
        eventually(lambda: not {"kb_killed", "kb_killed_count"} & {*kernel_names("map"), *kernel_names("prog")})


class TestRuns:
    def test_a_frame_of_an_interface(self, one: int, dropping: Object) -> None:
        with Attachment.attach(dropping.programs["count"], one):
            done = run(dropping.programs["shorten"], FRAME, ingress_ifindex=one)
            assert (done.retval, done.data) == (XDP_PASS, bytes([one]) + FRAME[5:])
            assert run(dropping.programs["shorten"], FRAME).data[0] == 1  # from loopback again

    def test_live_frames_go_out(self, one: int, dropping: Object) -> None:
        """Frames that `one` transmits arrive at its peer."""
        two = socket.if_nametoindex("two")
        with counting() as transmitting:
            fd = transmitting.programs["count"]
            with Attachment.attach(fd, one), Attachment.attach(dropping.programs["count"], two):
                duration = run_live(fd, FRAME, ingress_ifindex=one, repeat=500, batch=32)
                assert seen(transmitting) == 500
                eventually(lambda: seen(dropping) == 500)
                assert duration > 0

    def test_live_frames_of_no_interface(self, space: Namespace, dropping: Object) -> None:
        with pytest.raises(KernelError, match="live frames"):
            run_live(dropping.programs["count"], FRAME, ingress_ifindex=4242, repeat=1)


class TestPins:
    def test_a_map_goes_on_without_its_process(self, bpffs: Path) -> None:
        folder = pin_folder(bpffs / "switch" / "maps")
        with counting() as made:
            made.maps["hash"].update(u32(1), u64(11))
            pin(made.maps["hash"].fd, folder / "hash")
        with Map(open_pin(folder / "hash")) as adopted, counting(reuse={"hash": adopted.fd}) as other:
            assert other.maps["hash"].lookup(u32(1)) == u64(11)
        assert unpin(folder / "hash")
        assert not unpin(folder / "hash")
        with pytest.raises(KernelError) as caught:
            open_pin(folder / "hash")
        assert caught.value.errno == errno.ENOENT

    def test_what_was_pinned_there_is_replaced(self, bpffs: Path, dropping: Object) -> None:
        before = {path.name for path in bpffs.iterdir()}
        pin(dropping.maps["hash"].fd, bpffs / "map")
        pin(dropping.maps["routes"].fd, bpffs / "map")
        with Map(open_pin(bpffs / "map")) as found:
            assert found.id == dropping.maps["routes"].id
        assert {path.name for path in bpffs.iterdir()} - before == {"map"}

    def test_a_program_stays_attached(self, bpffs: Path, one: int, dropping: Object) -> None:
        with Attachment.attach(dropping.programs["count"], one) as there:
            there.pin(bpffs / "link")
        running = attached_program(one)
        assert running
        with Attachment.open(bpffs / "link") as adopted:
            assert (adopted.program_id, adopted.ifindex) == (running, one)
            adopted.update(dropping.programs["shorten"])
            assert attached_program(one) == adopted.program_id != running
            unpin(bpffs / "link")
            assert attached_program(one)
        assert attached_program(one) == 0

    def test_elsewhere_it_says_how_to_mount_one(self, tmp_path: Path, dropping: Object) -> None:
        with pytest.raises(KernelError, match="mount -t bpf bpf /sys/fs/bpf"):
            pin_folder(tmp_path / "not" / "there")
        assert not list(tmp_path.iterdir())
        with pytest.raises(KernelError, match="mount -t bpf bpf /sys/fs/bpf"):
            pin(dropping.maps["hash"].fd, tmp_path / "hash")

    def test_a_name_that_the_file_system_keeps(self, bpffs: Path, dropping: Object) -> None:
        with pytest.raises(KernelError, match="has a dot"):
            pin(dropping.maps["hash"].fd, bpffs / "hash.map")

    def test_a_pin_of_another_kind(self, bpffs: Path, dropping: Object) -> None:
        pin(dropping.maps["hash"].fd, bpffs / "hash")
        with pytest.raises(KernelError, match="is no BPF link"):
            Attachment.open(bpffs / "hash")
        pin(dropping.programs["count"], bpffs / "count")
        with pytest.raises(KernelError, match="is no BPF map"):
            Map(open_pin(bpffs / "count"))
