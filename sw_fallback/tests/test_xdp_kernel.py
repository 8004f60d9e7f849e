"""The shell around the kernel: objects, maps, runs, rings, pins and attachments, with small programs of its own."""

from __future__ import annotations

import errno
import gc
import struct
import time
from collections.abc import Iterator

import pytest
from sw_fallback.tests.xdp_kernel_programs import (
    COUNTING,
    FRAME,
    REFUSED,
    XDP_DROP,
    XDP_PASS,
    counting,
    descriptors,
    kernel_names,
    u32,
    u64,
)

from softswitch.engine.xdp import kernel
from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.compiler import compile_object
from softswitch.engine.xdp.kernel import (
    BPF_NOEXIST,
    KernelError,
    Object,
    membarrier_global,
    possible_cpus,
    program_statistics,
    run,
    statistics_enabled,
)

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")


@pytest.fixture
def loaded() -> Iterator[Object]:
    with counting() as made:
        yield made


class TestObject:
    def test_maps_and_programs_by_their_names(self, loaded: Object) -> None:
        assert set(loaded.programs) == {"count", "shorten"}
        assert set(loaded.maps) == {"seen", "odd", "hash", "routes", "each", "ports", ".bss", ".rodata"}
        seen = loaded.maps["seen"]
        assert (seen.key_size, seen.value_size, seen.max_entries, seen.name) == (4, 8, 3, "seen")

    def test_sizes_and_constants_are_set_before_loading(self) -> None:
        with counting(max_entries={"hash": 5000}, rodata={"step": u64(5), "verdict": b"\1"}) as made:
            assert made.maps["hash"].max_entries == 5000
            assert run(made.programs["count"], FRAME).retval == XDP_DROP
            assert made.maps["seen"].lookup(u32(1)) == u64(5)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"max_entries": {"nothing": 1}}, "no map 'nothing'"),
            ({"max_entries": {"hash": 0}}, "cannot be loaded: Invalid argument"),
            ({"rodata": {"nothing": b""}}, "no constant 'nothing'"),
            ({"rodata": {"step": b"\1"}}, "constant 'step' of object 'counting' has 8 bytes, not 1"),
            ({"reuse": {"nothing": 0}}, "no map 'nothing'"),
            ({"reuse": {"hash": 0}}, "file descriptor .* is no BPF map"),
        ],
    )
    def test_changes_that_cannot_be_made(self, changes: dict[str, object], words: str) -> None:
        before = descriptors()
        with pytest.raises(KernelError, match=words):
            counting(**changes)
        assert descriptors() == before

    def test_two_objects_over_the_same_maps(self, loaded: Object) -> None:
        run(loaded.programs["count"], FRAME)
        with counting(reuse={"seen": loaded.maps["seen"].fd}) as other:
            run(other.programs["count"], FRAME)
            assert other.maps["seen"].id == loaded.maps["seen"].id
            assert other.maps["hash"].id != loaded.maps["hash"].id
        assert loaded.maps["seen"].lookup(u32(1)) == u64(2)

    @pytest.mark.parametrize(
        ("given", "changes", "words"),
        [
            ("routes", {}, "its kind is 11, needed is 1"),
            ("hash", {"max_entries": {"hash": 9}}, "its number of entries is 8, needed is 9"),
        ],
    )
    def test_a_map_of_another_shape_is_not_reused(
        self, loaded: Object, given: str, changes: dict[str, object], words: str
    ) -> None:
        with pytest.raises(KernelError, match=words):
            counting(reuse={"hash": loaded.maps[given].fd}, **changes)

    def test_the_verifiers_last_words(self) -> None:
        with pytest.raises(KernelError, match="invalid access to packet") as caught:
            Object.load(compile_object(REFUSED), name="refused")
        assert caught.value.errno == errno.EACCES
        assert 3 < len(caught.value.log) <= 30
        assert "return *((char *)(long)context->data + 9); }" in str(caught.value)  # the line of source

    @pytest.mark.parametrize("elf", [b"", b"no object", b"\x7fELF" + bytes(100)])
    def test_what_is_no_object(self, elf: bytes) -> None:
        with pytest.raises(KernelError, match="object 'none' cannot be opened"):
            Object.load(elf, name="none")

    def test_closed_twice_and_forgotten(self) -> None:
        before = descriptors()
        made = counting()
        made.maps["seen"].memory()
        assert len(descriptors()) > len(before)
        made.close()
        made.close()
        assert descriptors() == before
        forgotten = counting()
        forgotten.maps["seen"].memory()
        del forgotten, made
        gc.collect()
        assert descriptors() == before


class TestMap:
    def test_entries_one_by_one(self, loaded: Object) -> None:
        table = loaded.maps["hash"]
        assert table.lookup(u32(7)) is None
        table.update(u32(7), u64(70))
        assert table.lookup(u32(7)) == u64(70)
        with pytest.raises(KernelError) as caught:
            table.update(u32(7), u64(71), BPF_NOEXIST)
        assert caught.value.errno == errno.EEXIST
        assert table.delete(u32(7))
        assert not table.delete(u32(7))

    @pytest.mark.parametrize("name", ["hash", "ports", "routes"])
    def test_batches(self, loaded: Object, name: str) -> None:
        """A devmap knows no batches: there they are done singly."""
        table = loaded.maps[name]
        keys = [u32(32, number) if name == "routes" else u32(number) for number in range(4)]
        values = [bytes([1]).ljust(table.value_length, b"\0")] * 4
        table.update_batch(b"".join(keys), b"".join(values))
        assert dict(table.items()) == dict(zip(keys, values, strict=True))
        table.delete_batch(b"".join(keys[:3]))
        assert [key for key, _ in table.items()] == keys[3:]
        if name != "ports":  # the kernel deletes from an array of ports what is not there
            with pytest.raises(KernelError) as caught:
                table.delete_batch(b"".join(keys[2:]))
            assert caught.value.errno == errno.ENOENT
        table.update_batch(b"", b"")
        table.delete_batch(b"")

    def test_more_entries_than_are_read_at_once(self) -> None:
        with counting(max_entries={"hash": 20_000}) as made:
            table = made.maps["hash"]
            table.update_batch(memoryview(u32(*range(20_000))), bytearray(u64(*range(20_000))))
            assert dict(table.items()) == {u32(number): u64(number) for number in range(20_000)}

    def test_a_full_map_tells_how_far_it_got(self, loaded: Object) -> None:
        with pytest.raises(KernelError, match="after 8 of 10 entries") as caught:
            loaded.maps["hash"].update_batch(u32(*range(10)), u64(*range(10)))
        assert caught.value.errno == errno.E2BIG
        assert len(list(loaded.maps["hash"].items())) == 8

    def test_values_of_every_cpu(self, loaded: Object) -> None:
        each = loaded.maps["each"]
        assert (each.value_size, each.stride, each.value_length) == (4, 8, 8 * possible_cpus())
        run(loaded.programs["count"], FRAME, repeat=5)
        value = each.lookup(u32(1))
        assert value is not None
        assert sum(struct.unpack(f"={possible_cpus()}Q", value)) == 5
        each.update(u32(0), u64(*range(possible_cpus())))
        assert dict(each.items())[u32(0)] == u64(*range(possible_cpus()))

    def test_wrong_sizes_never_reach_the_kernel(self, loaded: Object) -> None:
        table = loaded.maps["hash"]
        for call in (
            lambda: table.lookup(b"123"),
            lambda: table.delete(b"12345"),
            lambda: table.update(u32(1), u32(1)),
            lambda: table.update_batch(u32(1, 2), u64(1)),
            lambda: table.update_batch(u32(1, 2), b"1234567"),
            lambda: table.delete_batch(b"123"),
        ):
            with pytest.raises(ValueError, match="map 'hash'"):
                call()

    def test_memory_is_the_programs_memory(self, loaded: Object) -> None:
        seen = loaded.maps["seen"].memory().cast("Q")
        run(loaded.programs["count"], FRAME)
        assert list(seen) == [0, 1, 0]
        seen[1] = 40
        run(loaded.programs["count"], FRAME, repeat=2)
        assert loaded.maps["seen"].lookup(u32(1)) == u64(42)
        assert loaded.maps["seen"].memory() is loaded.maps["seen"].memory()
        assert loaded.maps[".bss"].memory().cast("Q")[0] == 3

    def test_memory_goes_by_the_stride(self, loaded: Object) -> None:
        odd = loaded.maps["odd"]
        assert (odd.value_size, odd.stride, len(odd.memory())) == (12, 16, 48)
        odd.update(u32(2), b"twelve bytes")
        assert bytes(odd.memory()[2 * odd.stride :][:12]) == b"twelve bytes"

    def test_a_large_memory(self) -> None:
        with counting(max_entries={"seen": 1 << 20}) as made:
            cells = made.maps["seen"].memory().cast("Q")
            cells[(1 << 20) - 1] = 5
            assert made.maps["seen"].lookup(u32((1 << 20) - 1)) == u64(5)

    def test_memory_that_is_still_looked_at(self) -> None:
        made = counting()
        cells = made.maps["seen"].memory().cast("Q")
        made.close()
        cells[1] = 9  # no crash: the last view keeps the mapping
        assert cells[1] == 9

    def test_no_memory(self, loaded: Object) -> None:
        with pytest.raises(KernelError, match="map 'hash' has no shared memory"):
            loaded.maps["hash"].memory()


class TestRun:
    def test_the_packet_afterwards(self, loaded: Object) -> None:
        done = run(loaded.programs["shorten"], FRAME)
        assert (done.retval, done.data) == (XDP_PASS, b"\1" + FRAME[5:])  # from loopback, interface 1
        assert run(loaded.programs["count"], FRAME).data == FRAME

    def test_repeats(self, loaded: Object) -> None:
        done = run(loaded.programs["count"], FRAME, repeat=1000)
        assert loaded.maps["seen"].lookup(u32(1)) == u64(1000)
        assert 0 < done.duration_ns < 100_000

    def test_refusals(self, loaded: Object) -> None:
        with pytest.raises(KernelError, match="packet of 3 bytes"):
            run(loaded.programs["count"], b"123")
        with pytest.raises(KernelError, match="Bad file descriptor"):
            run(-1, FRAME)
        assert run(loaded.programs["count"], FRAME).data == FRAME

    def test_a_call_is_quick(self, loaded: Object) -> None:
        """100 000 packets through it are the differential test's smallest dose."""
        fd, best = loaded.programs["count"], 1.0
        for _ in range(10):
            start = time.perf_counter()
            for _ in range(500):
                run(fd, FRAME)
            best = min(best, (time.perf_counter() - start) / 500)
        assert best < 15e-6


def test_statistics_only_while_enabled(loaded: Object) -> None:
    fd = loaded.programs["count"]
    with statistics_enabled():
        run(fd, FRAME, repeat=100)
    counted = program_statistics(fd)
    assert counted.run_count == 100
    assert counted.run_time_ns > 100
    with pytest.raises(KernelError, match="is no BPF prog"):
        program_statistics(-1)


def test_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    membarrier_global()
    monkeypatch.setattr(kernel.membarrier, "_commands", lambda: 0)
    with pytest.raises(KernelError, match="nohz_full"):
        membarrier_global()


def test_two_hundred_loads_leave_nothing() -> None:
    elf = compile_object(COUNTING, extra_flags=["-DSEEN=kb_leak", "-Dcount=kb_leak_count"])
    before = descriptors()
    for _ in range(200):
        with Object.load(elf, name="leaking") as made:
            made.maps["kb_leak"].memory()
            run(made.programs["kb_leak_count"], FRAME)
    assert descriptors() == before
    deadline = time.monotonic() + 10
    while {"kb_leak", "kb_leak_count"} & {*kernel_names("map"), *kernel_names("prog")}:
        assert time.monotonic() < deadline
        membarrier_global()  # the kernel frees a program, and then its maps, after a grace period
    with Object.load(elf, name="leaking"):
        assert kernel_names("map").count("kb_leak") == 1
        assert kernel_names("prog").count("kb_leak_count") == 1
