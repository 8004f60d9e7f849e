"""The P4Runtime client: with a real software switch, and with a server that answers as no sane switch would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from controller.tests.p4runtime_values import ENTRIES
from controller.tests.running import SwitchProcess, until
from controller.tests.scripted_switch import Refusal, ScriptedSwitch, arbitrated, scripted_switch
from finsy.proto import p4r
from sw_fallback.tests.certificates import Authority

from depot.p4runtime.arbitration import FIRST_ELECTION_ID, Role, StatusCode
from depot.p4runtime.codec import Digest
from depot.p4runtime.entry import (
    Entry,
    EntryKey,
    Table,
    admission_entry,
    local_address_entry,
    nat_member_entry,
    schedule_entry,
)
from depot.p4runtime.packets import PacketIn, PacketOut, PuntReason, Submission
from depot.p4runtime.reconcile import Operation, Update
from depot.p4runtime.rpc_shell import ConnectionLostError, TlsFiles
from depot.p4runtime.switch_shell import Pipeline, SwitchShell, SwitchTarget
from depot.p4runtime.write_errors import WriteFailure
from depot.program import find_compiled_program
from depot.switching.frames import arp_request

pytestmark = pytest.mark.server

MAC = 0x020000000101
OURS, HOST = 0xFFFF0A010001, 0xFFFF0A010002


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(find_compiled_program())


@pytest.fixture(scope="module")
def switch() -> Iterator[SwitchProcess]:
    with SwitchProcess.running() as running:
        yield running


class Recorder:
    """An observer that only listens."""

    def __init__(self) -> None:
        self.entries: list[list[Entry]] = []
        self.carried: list[list[Entry]] = []
        self.losses: list[tuple[str, bool]] = []
        self.digests: list[Digest] = []
        self.packets: list[PacketIn] = []
        self.idles: list[EntryKey] = []
        self.failures: list[WriteFailure] = []
        self.rooms = 0

    def primary(self, entries: list[Entry], carried: list[Entry]) -> None:
        self.entries.append(entries)
        self.carried.append(carried)

    def lost(self, reason: str, *, superseded: bool) -> None:
        self.losses.append((reason, superseded))

    def digest(self, digest: Digest) -> None:
        self.digests.append(digest)

    def packet_in(self, packet: PacketIn) -> None:
        self.packets.append(packet)

    def idle(self, keys: Sequence[EntryKey]) -> None:
        self.idles += keys

    def failed(self, failures: Sequence[WriteFailure]) -> None:
        self.failures += failures

    def drained(self) -> None:
        self.rooms += 1


class Client:
    """A running shell and its recorder."""

    def __init__(self, address: str, pipeline: Pipeline, **options: object) -> None:
        self.heard = Recorder()
        target = SwitchTarget("edge", address, **options)  # type: ignore[arg-type]
        self.shell = SwitchShell(target, pipeline, self.heard)
        self.task = asyncio.create_task(self.shell.run())

    async def ready(self) -> None:
        await until(lambda: self.shell.ready or self.task.done(), "primary")
        assert self.shell.ready

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def write(self, *updates: Update) -> None:
        self.shell.submit([list(updates)])
        await self.shell.flushed()


@asynccontextmanager
async def client(address: str, pipeline: Pipeline, **options: object) -> AsyncIterator[Client]:
    made = Client(address, pipeline, **options)
    try:
        yield made
    finally:
        await made.stop()


def inserts(*entries: Entry) -> list[Update]:
    return [Update(Operation.INSERT, entry) for entry in entries]


def deletes(*entries: Entry) -> list[Update]:
    return [Update(Operation.DELETE, entry) for entry in entries]


class TestRealSwitch:
    async def test_writes_are_read_back_by_the_next_controller(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        entries = {entry.key: entry for entry in ENTRIES.values()}
        async with client(switch.address, pipeline) as first:
            await first.ready()
            assert first.heard.entries == [[]]
            await first.write(*inserts(*entries.values()))
            assert first.heard.failures == []
        async with client(switch.address, pipeline) as second:
            await second.ready()
            assert {entry.key: entry for entry in second.heard.entries[0]} == entries, "the pipeline was not set again"
            await second.write(*deletes(*entries.values()))
            assert await second.shell.read_entries(tuple(Table)) == []
            assert second.shell.version.startswith("1.")

    async def test_each_refused_update_is_told(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        wide = admission_entry(1, 1 << 48)
        good = [admission_entry(1, mac) for mac in range(1, 4)]
        async with client(switch.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(good[0], wide, *good[1:]))
            (failure,) = one.heard.failures
            assert failure.update == Update(Operation.INSERT, wide)
            assert failure.reason in ("OUT_OF_RANGE", "INVALID_ARGUMENT")
            assert set(await one.shell.read_entries([Table.ADMISSION])) == set(good)
            await one.write(*deletes(*good))

    async def test_a_full_table(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        entries = [admission_entry(1, mac) for mac in range(1, 4100)]
        async with client(switch.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(*entries))
            assert [failure.update.entry for failure in one.heard.failures] == entries[4096:]
            assert {failure.reason for failure in one.heard.failures} == {"RESOURCE_EXHAUSTED"}
            assert (one.shell.updates_written, one.shell.updates_failed) == (4096, 3)
            await one.write(*deletes(*entries[:4096]))

    async def test_desired_state_settles_what_is_there_and_what_is_not(
        self, switch: SwitchProcess, pipeline: Pipeline
    ) -> None:
        old, new, other = nat_member_entry(1, 5, 80), nat_member_entry(1, 6, 80), nat_member_entry(2, 7, 80)
        async with client(switch.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(old))
            await one.write(*inserts(new))
            await one.write(Update(Operation.MODIFY, other), *deletes(nat_member_entry(3, 0, 0)))
            assert set(await one.shell.read_entries([Table.MEMBER])) == {new, other}
            assert one.heard.failures == []
            await one.write(*deletes(new, other))

    async def test_updates_of_one_connection_keep_their_order(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        entry, closing = ENTRIES["connection"], ENTRIES["closing connection"]
        async with client(switch.address, pipeline) as one:
            await one.ready()
            one.shell.submit_connections(inserts(entry))
            one.shell.submit_connections([Update(Operation.MODIFY, closing)])
            one.shell.submit_connections([*deletes(entry), *inserts(closing)])
            await one.shell.flushed()
            assert await one.shell.read_entries([Table.CONNECTION]) == [closing]
            await one.write(*deletes(closing))

    async def test_digests_packets_and_idle_entries_come(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        ours = local_address_entry(1, OURS, MAC)
        async with client(switch.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(ours))
            one.shell.send(PacketOut(arp_request(0x02AA, HOST, OURS), ingress_port=1, submit=Submission.SUBMIT))
            await until(lambda: one.heard.digests, "a digest")
            (digest,) = one.heard.digests
            assert (digest.name, digest.samples) == ("neighbour_seen_t", [(1, HOST, 0x02AA)])
            idle = ENTRIES["connection to be reset"]._replace(idle_timeout_ns=50_000_000)
            await one.write(*inserts(idle))
            await until(lambda: one.heard.idles, "an idle entry")
            assert one.heard.idles[0] == idle.key
            await one.write(*deletes(ours, idle))

    async def test_a_packet_in(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        from scapy.layers.inet import IP, UDP
        from scapy.layers.l2 import Ether

        from depot.address import format_mac, parse_prefix
        from depot.p4runtime.entry import route_connected_entry

        entries = [admission_entry(1, MAC), route_connected_entry(parse_prefix("10.9.0.0/16"), 2, 1500)]
        frame = bytes(Ether(dst=format_mac(MAC), src="02:00:00:00:00:09") / IP(src="10.1.0.2", dst="10.9.8.7") / UDP())
        async with client(switch.address, pipeline) as one:
            await one.ready()
            one.shell.submit([inserts(*entries)])
            one.shell.send_after([PacketOut(frame, ingress_port=1, submit=Submission.SUBMIT)])
            await until(lambda: one.heard.packets, "a packet")
            (packet,) = one.heard.packets
            assert packet == PacketIn(1, PuntReason.NEIGHBOUR_UNRESOLVED, 2, 0xFFFF0A090807, frame)
            counters = await one.shell.read_counters()
            assert counters["punts", PuntReason.NEIGHBOUR_UNRESOLVED].packets == 1
            await one.write(*deletes(*entries))

    async def test_counts(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        member = nat_member_entry(1, 5, 80)
        async with client(switch.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(member))
            assert await one.shell.read_counts([Table.MEMBER]) == {member.key: (0, 0)}
            await one.write(*deletes(member))

    async def test_another_version_of_the_program_hands_over_its_sessions(self, pipeline: Pipeline) -> None:
        kept = [ENTRIES[name] for name in ("connection", "VIP", "NAT member")]
        with SwitchProcess.running() as own:
            async with client(own.address, pipeline) as old:
                await old.ready()
                await old.write(*inserts(*kept, ENTRIES["own address"]))
            newer = Pipeline(find_compiled_program())
            newer.config.cookie.cookie += 1
            newer.config.p4info.pkg_info.version = "2"
            async with client(own.address, newer) as new:
                await new.ready()
                assert new.heard.entries == [[]], "a new program begins with empty tables"
                assert set(new.heard.carried[0]) == set(kept)

    async def test_a_switch_killed_and_started_again(self, pipeline: Pipeline) -> None:
        with SwitchProcess.running() as own:
            async with client(own.address, pipeline) as one:
                await one.ready()
                await one.write(*inserts(nat_member_entry(1, 5, 80)))
                own.kill()
                await until(lambda: one.heard.losses, "the loss is told")
                assert not one.shell.ready
                with pytest.raises(ConnectionLostError):
                    await one.shell.flushed()
                own.start()
                await until(lambda: len(one.heard.entries) == 2, "primary again")
                assert one.heard.entries[1] == []
                assert one.heard.losses[0][1] is False


class TestSecondController:
    async def test_it_waits_and_takes_over(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        async with client(switch.address, pipeline) as second, client(switch.address, pipeline) as first:
            await until(lambda: first.shell.ready or second.shell.ready, "one is primary")
            one, other = (first, second) if first.shell.ready else (second, first)
            await until(lambda: other.shell.role is Role.BACKUP, "the other stands by")
            assert any(superseded for _, superseded in other.heard.losses)
            await one.write(*inserts(nat_member_entry(1, 5, 80)))
            await one.stop()
            await other.ready()
            assert other.heard.entries == [[nat_member_entry(1, 5, 80)]]
            await other.write(*deletes(nat_member_entry(1, 5, 80)))

    async def test_a_higher_one_supersedes_until_it_leaves(self, switch: SwitchProcess, pipeline: Pipeline) -> None:
        async with client(switch.address, pipeline) as one:
            await one.ready()
            async with client(switch.address, pipeline, election_id=5 * FIRST_ELECTION_ID) as higher:
                await higher.ready()
                await until(lambda: one.heard.losses, "it is told")
                assert one.heard.losses[0][1] is True
                assert not one.shell.ready
            await until(lambda: len(one.heard.entries) == 2, "primary again")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "authority")


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[SwitchProcess]:
    pair = authority.sign("switch")
    options = ["--grpc-server-ssl", "--grpc-server-cacert", str(authority.certificate)]
    options += ["--grpc-server-cert", str(pair.certificate), "--grpc-server-key", str(pair.key)]
    with SwitchProcess.running(*options, "--grpc-server-with-client-auth") as running:
        yield running


class TestTls:
    async def test_mutual(self, secure: SwitchProcess, authority: Authority, pipeline: Pipeline) -> None:
        pair = authority.sign("controller")
        files = TlsFiles(authority.certificate, pair.certificate, pair.key)
        async with client(secure.address, pipeline, tls=files) as one:
            await one.ready()

    async def test_a_client_nobody_vouches_for(
        self, secure: SwitchProcess, authority: Authority, pipeline: Pipeline
    ) -> None:
        async with client(secure.address, pipeline, tls=TlsFiles(authority.certificate)) as one:
            await until(lambda: one.heard.losses, "it is refused")
            assert not one.shell.ready

    async def test_a_switch_nobody_vouches_for(self, secure: SwitchProcess, pipeline: Pipeline, tmp_path: Path) -> None:
        stranger = Authority(tmp_path, "stranger")
        async with client(secure.address, pipeline, tls=TlsFiles(stranger.certificate)) as one:
            await until(lambda: one.heard.losses, "it is refused")

    async def test_a_file_that_is_gone(self, secure: SwitchProcess, pipeline: Pipeline, tmp_path: Path) -> None:
        async with client(secure.address, pipeline, tls=TlsFiles(tmp_path / "none.pem")) as one:
            await until(lambda: one.heard.losses, "it is told")
            assert "none.pem" in one.heard.losses[0][0]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedSwitch]:
    async with scripted_switch() as switch:
        yield switch


MEMBERS = [nat_member_entry(number, 5, 80) for number in range(8)]


class TestStrangeSwitch:
    """BMv2 and others deviate; what no specification allows must do no harm either."""

    async def test_the_pipeline_is_set_only_where_it_differs(
        self, scripted: ScriptedSwitch, pipeline: Pipeline
    ) -> None:
        async with client(scripted.address, pipeline) as one:
            await one.ready()
        assert scripted.pipelines == 1
        assert scripted.held is not None
        scripted.held.cookie.cookie = 0  # the same program, set by somebody else
        async with client(scripted.address, pipeline) as one:
            await one.ready()
        assert scripted.pipelines == 1
        scripted.held.p4_device_config = b"another"
        async with client(scripted.address, pipeline) as one:
            await one.ready()
        assert scripted.pipelines == 2

    async def test_our_own_mistakes_do_not_cost_the_switch(
        self, scripted: ScriptedSwitch, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            broken = one.heard.digest
            one.heard.digest = lambda digest: 1 / 0  # type: ignore[assignment,return-value]
            scripted.say(p4r.StreamMessageResponse(digest=p4r.DigestList(digest_id=pipeline.codec.digest_ids[0])))
            await until(lambda: one.heard.losses, "it is told")
            one.heard.digest = broken  # type: ignore[method-assign]
            await until(lambda: len(one.heard.entries) == 2, "connected again")
        assert "ZeroDivisionError" in caplog.text

    async def test_without_details_the_culprit_is_found(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        bad = MEMBERS[5]

        def refuse(updates: list[Update]) -> None:
            if bad in [update.entry for update in updates]:
                raise Refusal(grpc.StatusCode.INTERNAL, "something is wrong")

        scripted.on_write = refuse
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(*MEMBERS))
            assert [(failure.update.entry, failure.reason) for failure in one.heard.failures] == [(bad, "INTERNAL")]
            assert one.shell.updates_written == len(MEMBERS) - 1

    @pytest.mark.parametrize("raw", [b"garbage", b"", b"\x08\x02\x1a\x02\x0a\x00"])
    async def test_details_that_are_none(self, scripted: ScriptedSwitch, pipeline: Pipeline, raw: bytes) -> None:
        def refuse(updates: list[Update]) -> None:
            raise Refusal(grpc.StatusCode.UNKNOWN, "see the details", raw=raw)

        scripted.on_write = refuse
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(*MEMBERS[:2]))
            assert {failure.update.entry for failure in one.heard.failures} == set(MEMBERS[:2])

    async def test_neither_there_nor_absent(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        """A switch that says ALREADY_EXISTS and then NOT_FOUND is not asked for ever."""

        def refuse(updates: list[Update]) -> None:
            codes = {Operation.INSERT: StatusCode.ALREADY_EXISTS, Operation.MODIFY: StatusCode.NOT_FOUND}
            raise Refusal(grpc.StatusCode.UNKNOWN, "", [(codes[u.operation], "no") for u in updates])

        scripted.on_write = refuse
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            await one.write(*inserts(MEMBERS[0]))
            assert [failure.reason for failure in one.heard.failures] == ["ABORTED"]
            assert len(scripted.writes) == 2

    async def test_a_write_refused_as_no_primary(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        def refuse(updates: list[Update]) -> None:
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "not primary")

        scripted.on_write = refuse
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            one.shell.submit([inserts(MEMBERS[0])])
            await until(lambda: one.heard.losses, "it is told")
            reason, superseded = one.heard.losses[0]
            assert superseded
            assert "not primary" in reason

    async def test_a_lost_pipeline_is_set_again(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        def refuse(updates: list[Update]) -> None:
            scripted.on_write = lambda updates: None
            scripted.held = None
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "no forwarding pipeline config")

        scripted.on_write = refuse
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            one.shell.submit([inserts(MEMBERS[0])])
            await until(lambda: len(one.heard.entries) == 2, "connected again")
            assert scripted.pipelines == 2

    async def test_nobody_is_primary_any_more(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        scripted.arbitration = (StatusCode.ALREADY_EXISTS, 7000)
        async with client(scripted.address, pipeline) as one:
            await until(lambda: one.shell.role is Role.BACKUP, "a backup")
            scripted.arbitration = (StatusCode.OK, 0)
            scripted.say(arbitrated(StatusCode.NOT_FOUND, 7000))
            await one.ready()
            assert scripted.bids == [FIRST_ELECTION_ID, 7000]

    async def test_strange_messages_are_left_aside(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            scripted.say(p4r.StreamMessageResponse())
            scripted.say(p4r.StreamMessageResponse(digest=p4r.DigestList(digest_id=1)))
            scripted.say(p4r.StreamMessageResponse(packet=p4r.PacketIn(payload=b"x")))
            note = p4r.IdleTimeoutNotification(table_entry=[p4r.TableEntry(table_id=1)])
            scripted.say(p4r.StreamMessageResponse(idle_timeout_notification=note))
            scripted.say(p4r.StreamMessageResponse(error=p4r.StreamError(message="bad packet-out")))
            await one.write(*inserts(MEMBERS[0]))
            assert one.heard.losses == []
            assert (one.heard.digests, one.heard.packets, one.heard.idles) == ([], [], [])

    async def test_a_stream_that_ends(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            scripted.streams[-1].put_nowait(None)
            await until(lambda: len(one.heard.entries) == 2, "connected again")

    async def test_batches_come_in_order(self, scripted: ScriptedSwitch, pipeline: Pipeline) -> None:
        batches = [inserts(*MEMBERS), inserts(schedule_entry(0, 0, 0)), deletes(MEMBERS[7])]
        async with client(scripted.address, pipeline) as one:
            await one.ready()
            one.shell.submit(batches)
            await one.shell.flushed()
        assert [[update.entry.key for update in batch] for batch in scripted.writes] == [
            [update.entry.key for update in batch] for batch in batches
        ]
