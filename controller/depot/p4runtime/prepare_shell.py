"""What comes before a primary's first write: the right program, digests, and what the tables hold."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from finsy.proto import p4r

from depot.p4runtime.arbitration import StatusCode
from depot.p4runtime.codec import Codec, CodecError, parse_p4info
from depot.p4runtime.entry import Entry, Table
from depot.p4runtime.rpc_shell import RefusedError, RpcConnection
from depot.program import CompiledProgram

__all__ = ["Pipeline", "Prepared", "prepare", "read_tables"]

DIGEST_LIST_SIZE = 256
"""A list costs both sides as much as some ten of its samples. BMv2 waits up to 0.2 s for one to become full, whatever
timeout it is given; the flow cache bridges that."""
DIGEST_TIMEOUT_NS = 1_000_000
"""A digest waits a millisecond for others: long enough to share a message, short beside a round trip."""
DIGEST_ACK_TIMEOUT_NS = 0
"""Nothing is held back until acknowledged: a client that uses its port again within milliseconds causes samples equal
to those of the session before, and without them the new session's answer would count as missing."""

events = logging.getLogger("depot.events")


class Pipeline:
    """The program to run, as the switch gets it. Raises CodecError and OSError."""

    def __init__(self, program: CompiledProgram) -> None:
        p4info = parse_p4info(program.p4info.read_text())
        device_config = program.json.read_bytes()
        digest = hashlib.sha256(p4info.SerializeToString(deterministic=True) + device_config).digest()
        self.codec = Codec(p4info)
        self.config = p4r.ForwardingPipelineConfig(p4info=p4info, p4_device_config=device_config)
        self.config.cookie.cookie = int.from_bytes(digest[:8], "big")

    def is_loaded(self, held: p4r.ForwardingPipelineConfig) -> bool:
        """Say whether a configuration with its P4Info and program is ours."""
        return held.p4_device_config == self.config.p4_device_config and held.p4info == self.config.p4info


@dataclass(frozen=True, slots=True)
class Prepared:
    """A switch as it was found."""

    version: str
    """The P4Runtime version that its server speaks."""
    entries: list[Entry]
    """What its tables hold."""
    carried: list[Entry]
    """What VIPs, members and connections held before the program was replaced; empty if it was not."""


async def prepare(connection: RpcConnection, pipeline: Pipeline, name: str) -> Prepared:
    """Make a switch of which we are primary run our program and tell its digests. Raises RpcError, CodecError."""
    version = await connection.api_version()
    carried = await _load(connection, pipeline, name)
    await _enable_digests(connection, pipeline.codec)
    return Prepared(version, await read_tables(connection, pipeline.codec, Table), carried)


async def read_tables(connection: RpcConnection, codec: Codec, tables: Iterable[Table]) -> list[Entry]:
    """Return the entries of whole tables. Raises RpcError, CodecError."""
    wanted = [codec.read_table(table) for table in tables]
    return [
        codec.decode_entry(entity.table_entry)
        async for entity in connection.read(wanted)
        if not entity.table_entry.is_default_action
    ]


async def _load(connection: RpcConnection, pipeline: Pipeline, name: str) -> list[Entry]:
    """Load the program where another one runs; what that one knew of sessions is read first."""
    held = await connection.get_pipeline(cookie_only=True)
    if held is not None and held.cookie.cookie == pipeline.config.cookie.cookie:
        return []
    held = await connection.get_pipeline(cookie_only=False)
    if held is not None and pipeline.is_loaded(held):
        return []
    carried = [] if held is None else await _carry(connection, held, name)
    events.info("%s: loading the forwarding program", name)
    await connection.set_pipeline(pipeline.config)
    return carried


async def _carry(connection: RpcConnection, held: p4r.ForwardingPipelineConfig, name: str) -> list[Entry]:
    try:
        carried = await read_tables(connection, Codec(held.p4info), (Table.VIP, Table.MEMBER, Table.CONNECTION))
    except (CodecError, RefusedError) as error:
        events.warning("%s: runs another program, whose sessions cannot be taken over: %s", name, error)
        return []
    count = sum(entry.table is Table.CONNECTION for entry in carried)
    events.info("%s: runs another version of the program; %d sessions are taken over", name, count)
    return carried


async def _enable_digests(connection: RpcConnection, codec: Codec) -> None:
    kinds = dict.fromkeys(codec.digest_ids, p4r.Update.INSERT)
    for _ in range(2):
        request = p4r.WriteRequest()
        for digest_id, kind in kinds.items():
            request.updates.add(type=kind, entity=p4r.Entity(digest_entry=_digest_entry(digest_id)))
        errors = dict(zip(kinds, await connection.write(request), strict=False))
        there = [digest_id for digest_id, error in errors.items() if error.code == StatusCode.ALREADY_EXISTS]
        kinds = dict.fromkeys(there, p4r.Update.MODIFY)
        refused = [error for error in errors.values() if error.code not in (StatusCode.OK, StatusCode.ALREADY_EXISTS)]
        if refused:
            raise RefusedError(refused[0].code, f"digests cannot be enabled: {refused[0].message}")
        if not kinds:
            return


def _digest_entry(digest_id: int) -> p4r.DigestEntry:
    return p4r.DigestEntry(
        digest_id=digest_id,
        config=p4r.DigestEntry.Config(
            max_timeout_ns=DIGEST_TIMEOUT_NS, max_list_size=DIGEST_LIST_SIZE, ack_timeout_ns=DIGEST_ACK_TIMEOUT_NS
        ),
    )
