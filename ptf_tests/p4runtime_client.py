"""A small synchronous P4Runtime client for the packet tests: one primary, its stream in a thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
from finsy.proto import p4i, p4r, p4r_grpc

from ptf_tests.case import Digest, Entry, PacketIn, Submit
from ptf_tests.p4names import P4Names

__all__ = ["P4RuntimeClient"]

DEVICE_ID = 1
CONNECT_SECONDS = 20.0
REPLY_SECONDS = 10.0


def encode(value: int) -> bytes:
    """The canonical byte string of a value (P4Runtime, "Bytestrings")."""
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def _match(field: p4i.MatchField, value: int | tuple[int, int] | None) -> p4r.FieldMatch | None:
    """A field of a key; None: it may be anything, which is said by leaving it out (P4Runtime, "Match Format")."""
    match = p4r.FieldMatch(field_id=field.id)
    match field.match_type, value:
        case p4i.MatchField.EXACT, int():
            match.exact.value = encode(value)
        case p4i.MatchField.OPTIONAL, int():
            match.optional.value = encode(value)
        case p4i.MatchField.LPM, (first, length) if length:
            match.lpm.value, match.lpm.prefix_len = encode(first), length
        case p4i.MatchField.TERNARY, (first, mask):
            match.ternary.value, match.ternary.mask = encode(first), encode(mask)
        case p4i.MatchField.RANGE, (low, high):
            match.range.low, match.range.high = encode(low), encode(high)
        case _:
            return None
    return match


class P4RuntimeClient:
    """Primary controller of one switch; packet-ins and digests wait in `heard`."""

    def __init__(self, address: str, p4info: Path, device_config: Path) -> None:
        self.names = P4Names(p4info)
        self.heard: queue.SimpleQueue[PacketIn | Digest] = queue.SimpleQueue()
        self._device_config = device_config.read_bytes()
        self._requests: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()
        self._arbitration: queue.SimpleQueue[p4r.MasterArbitrationUpdate] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(address)
        grpc.channel_ready_future(self._channel).result(timeout=CONNECT_SECONDS)
        self._stub = p4r_grpc.P4RuntimeStub(self._channel)
        self._election_id = p4r.Uint128(low=int(time.time()))
        self._reader = threading.Thread(target=self._read_stream, name="p4runtime stream", daemon=True)

    def start(self) -> None:
        """Become primary, load the program, subscribe to every digest. Raises `queue.Empty` or `grpc.RpcError`."""
        self._reader.start()
        update = p4r.MasterArbitrationUpdate(device_id=DEVICE_ID, election_id=self._election_id)
        self._requests.put(p4r.StreamMessageRequest(arbitration=update))
        answer = self._arbitration.get(timeout=REPLY_SECONDS)
        if answer.status.code != grpc.StatusCode.OK.value[0]:
            raise RuntimeError(f"the switch did not make us primary: {answer.status.message}")
        config = p4r.ForwardingPipelineConfig(p4info=self.names.p4info, p4_device_config=self._device_config)
        self._stub.SetForwardingPipelineConfig(
            p4r.SetForwardingPipelineConfigRequest(
                device_id=DEVICE_ID,
                election_id=self._election_id,
                action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
                config=config,
            )
        )
        at_once = p4r.DigestEntry.Config(max_timeout_ns=0, max_list_size=1, ack_timeout_ns=1_000_000_000)
        digests = [p4r.DigestEntry(digest_id=d.preamble.id, config=at_once) for d in self.names.digests.values()]
        self._write(p4r.Update(type=p4r.Update.INSERT, entity=p4r.Entity(digest_entry=d)) for d in digests)

    def stop(self) -> None:
        """Close the stream and the channel."""
        self._requests.put(None)
        self._channel.close()

    def change(self, gone: Iterable[Entry], new: Iterable[Entry]) -> None:
        """Delete and insert table entries. Raises `grpc.RpcError`."""
        self._write(p4r.Update(type=p4r.Update.DELETE, entity=self._entity(entry)) for entry in gone)
        self._write(p4r.Update(type=p4r.Update.INSERT, entity=self._entity(entry)) for entry in new)

    def counts(self, counter: str) -> dict[int, int]:
        """Packets of each cell of an indirect counter that is not zero."""
        entry = p4r.CounterEntry(counter_id=self.names.counters[counter].preamble.id)
        request = p4r.ReadRequest(device_id=DEVICE_ID, entities=[p4r.Entity(counter_entry=entry)])
        cells = [entity.counter_entry for response in self._stub.Read(request) for entity in response.entities]
        return {cell.index.index: cell.data.packet_count for cell in cells if cell.data.packet_count}

    def direct_counter(self, entry: Entry) -> tuple[int, int]:
        """(packets, bytes) of a table entry's own counter."""
        wanted = p4r.DirectCounterEntry(table_entry=self._key(entry))
        request = p4r.ReadRequest(device_id=DEVICE_ID, entities=[p4r.Entity(direct_counter_entry=wanted)])
        (found,) = [entity for response in self._stub.Read(request) for entity in response.entities]
        data = found.direct_counter_entry.data
        return data.packet_count, data.byte_count

    def packet_out(self, submit: Submit, payload: bytes) -> None:
        """Send a packet-out."""
        values = submit.fields
        metadata = [
            p4r.PacketMetadata(metadata_id=field.id, value=encode(values[field.name]))
            for field in self.names.headers["packet_out"].metadata
        ]
        self._requests.put(p4r.StreamMessageRequest(packet=p4r.PacketOut(payload=payload, metadata=metadata)))

    def _write(self, updates: Iterable[p4r.Update]) -> None:
        request = p4r.WriteRequest(device_id=DEVICE_ID, election_id=self._election_id, updates=updates)
        if request.updates:
            self._stub.Write(request)

    def _key(self, entry: Entry) -> p4r.TableEntry:
        """A table entry with its match fields only."""
        table = self.names.tables[entry.table]
        match = [part for part in (_match(field, entry.match.get(field.name)) for field in table.match_fields) if part]
        return p4r.TableEntry(table_id=table.preamble.id, match=match, priority=entry.priority)

    def _entity(self, entry: Entry) -> p4r.Entity:
        action = self.names.actions[entry.action]
        params = [p4r.Action.Param(param_id=p.id, value=encode(entry.params[p.name])) for p in action.params]
        call = p4r.TableAction(action=p4r.Action(action_id=action.preamble.id, params=params))
        table_entry = self._key(entry)
        table_entry.action.CopyFrom(call)
        return p4r.Entity(table_entry=table_entry)

    def _read_stream(self) -> None:
        try:
            for response in self._stub.StreamChannel(self._outgoing()):
                self._take(response)
        except grpc.RpcError:
            return  # the switch or this client has closed: whoever waits for an answer times out and says so

    def _outgoing(self) -> Iterator[p4r.StreamMessageRequest]:
        return iter(self._requests.get, None)

    def _take(self, response: p4r.StreamMessageResponse) -> None:
        match response.WhichOneof("update"):
            case "arbitration":
                self._arbitration.put(response.arbitration)
            case "packet":
                self.heard.put(self._packet_in(response.packet))
            case "digest":
                digests = response.digest
                ack = p4r.DigestListAck(digest_id=digests.digest_id, list_id=digests.list_id)
                self._requests.put(p4r.StreamMessageRequest(digest_ack=ack))
                name = self.names.digest_names[digests.digest_id]
                for sample in digests.data:
                    members = (int.from_bytes(member.bitstring, "big") for member in sample.struct.members)
                    self.heard.put(Digest(name, tuple(members)))

    def _packet_in(self, packet: p4r.PacketIn) -> PacketIn:
        fields = {field.id: field.name for field in self.names.headers["packet_in"].metadata}
        header = {fields[item.metadata_id]: int.from_bytes(item.value, "big") for item in packet.metadata}
        return PacketIn.of(header, packet.payload)
