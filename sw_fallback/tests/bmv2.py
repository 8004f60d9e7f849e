"""BMv2's simple_switch_grpc as a reference: the same program, entities and packets, and what comes out of each.

Packets go in and come out over its gRPC data plane interface, which says which packet led to which output, so
no network interface is touched. The messages are described here by their numbers and types.
"""

from __future__ import annotations

import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from finsy.proto import p4r, p4r_grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from softswitch.entities import (
    CloneSession,
    MulticastGroup,
    SelectorGroup,
    SelectorMember,
    TableEntry,
)
from softswitch.p4info import P4Info
from softswitch.server.replication_codec import ReplicationCodec
from softswitch.server.schema import Schema
from softswitch.server.selector_codec import encode_group, encode_member
from softswitch.switch import Entity

PROGRAM = "simple_switch_grpc"
DEVICE = 1
PATIENCE = 20.0
"""Seconds until a server that does not answer fails a test."""


def available() -> bool:
    """Whether BMv2 is on this machine."""
    return shutil.which(PROGRAM) is not None


def _packet_message() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="bmv2_dataplane.proto", package="p4.bm", syntax="proto3")
    message = file.message_type.add(name="PacketStreamRequest")
    types = descriptor_pb2.FieldDescriptorProto
    fields = (
        ("id", types.TYPE_UINT64),
        ("device_id", types.TYPE_UINT64),
        ("port", types.TYPE_UINT32),
        ("packet", types.TYPE_BYTES),
    )
    for number, (name, kind) in enumerate(fields, 1):
        message.field.add(name=name, number=number, type=kind, label=types.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p4.bm.PacketStreamRequest"))


_Packet = _packet_message()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Bmv2:
    """A running simple_switch_grpc; use as a context manager."""

    def __init__(self, p4info: Path, device_config: Path, scratch: Path) -> None:
        self._info = P4Info.load(p4info)
        self._device_config = device_config.read_bytes()
        self._schema = Schema(self._info.message)
        control, data = _free_port(), _free_port()
        command = [PROGRAM, "--no-p4", "--device-id", str(DEVICE), "-L", "off"]
        command += ["--notifications-addr", f"ipc://{scratch}/notifications.ipc", "--"]
        command += ["--grpc-server-addr", f"127.0.0.1:{control}", "--dp-grpc-server-addr", f"127.0.0.1:{data}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._control = grpc.insecure_channel(f"127.0.0.1:{control}")
        self._data = grpc.insecure_channel(f"127.0.0.1:{data}")
        self._requests: queue.SimpleQueue[p4r.StreamMessageRequest | None] = queue.SimpleQueue()

    def __enter__(self) -> Bmv2:
        grpc.channel_ready_future(self._control).result(timeout=PATIENCE)
        self._stub = p4r_grpc.P4RuntimeStub(self._control)
        self._election_id = p4r.Uint128(low=1)
        update = p4r.MasterArbitrationUpdate(device_id=DEVICE, election_id=self._election_id)
        self._requests.put(p4r.StreamMessageRequest(arbitration=update))
        self._stream = self._stub.StreamChannel(iter(self._requests.get, None))
        next(self._stream)
        self._set_pipeline()
        self._await_data_plane()
        return self

    def _await_data_plane(self) -> None:
        """Its packet stream says UNAVAILABLE for a while after the program is there."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                self.process(())
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
            else:
                return

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._control.close()
        self._data.close()
        self._process.kill()
        self._process.wait()

    def _set_pipeline(self) -> None:
        config = p4r.ForwardingPipelineConfig(p4info=self._info.message, p4_device_config=self._device_config)
        request = p4r.SetForwardingPipelineConfigRequest(
            device_id=DEVICE,
            election_id=self._election_id,
            action=p4r.SetForwardingPipelineConfigRequest.VERIFY_AND_COMMIT,
            config=config,
        )
        self._stub.SetForwardingPipelineConfig(request, timeout=PATIENCE)

    def insert(self, entities: Iterable[Entity]) -> None:
        """Insert them one batch. Raises `grpc.RpcError`."""
        request = p4r.WriteRequest(device_id=DEVICE, election_id=self._election_id)
        for entity in entities:
            request.updates.add(type=p4r.Update.INSERT, entity=self._message(entity))
        if request.updates:
            self._stub.Write(request, timeout=PATIENCE)

    def _message(self, entity: Entity) -> p4r.Entity:
        match entity:
            case TableEntry():
                message = p4r.Entity()
                self._schema.table(entity.key.table_id).encode_entry(entity, message.table_entry)
                return message
            case SelectorMember():
                return encode_member(self._schema, entity)
            case SelectorGroup():
                return encode_group(entity)
            case MulticastGroup():
                return ReplicationCodec().encode_multicast(entity)
            case CloneSession():
                return ReplicationCodec().encode_clone(entity)

    def process(self, packets: Sequence[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
        """Send (port, packet) one after another; return for each what left as (port, packet)."""
        call = self._data.stream_stream(
            "/p4.bm.DataplaneInterface/PacketStream",
            request_serializer=_Packet.SerializeToString,
            response_deserializer=_Packet.FromString,
        )
        outputs: list[list[tuple[int, bytes]]] = [[] for _ in packets]
        for answer in call(self._paced(packets), timeout=PATIENCE + len(packets) / 100):
            outputs[answer.id - 1].append((answer.port, answer.packet))
        return outputs

    @staticmethod
    def _paced(packets: Sequence[tuple[int, bytes]]) -> Iterator[Any]:
        """Requests with pauses: its egress queues hold 64 packets and drop the rest."""
        for number, (port, packet) in enumerate(packets, 1):
            yield _Packet(id=number, device_id=DEVICE, port=port, packet=packet)
            if number % 16 == 0:
                time.sleep(0.02)
        time.sleep(0.2 if packets else 0)
