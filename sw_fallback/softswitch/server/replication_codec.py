"""Multicast groups and clone sessions between messages and `softswitch.entities`.

Source: P4Runtime specification 1.4, section 9.5 (PacketReplicationEngineEntry).
"""

from __future__ import annotations

from collections.abc import Sequence

from finsy.proto import p4r

from softswitch.entities import CloneSession, MulticastGroup, Replica
from softswitch.server.bytestrings import decode_unsigned, encode_unsigned
from softswitch.server.status import Code, Refusal

__all__ = ["decode_clone", "decode_multicast", "encode_clone", "encode_multicast"]

_PORT_WIDTH = 9
"""Of `egress_spec` in v1model."""
_MAX_INSTANCE = 0xFFFF
"""Of `egress_rid` in v1model."""


def decode_multicast(message: p4r.MulticastGroupEntry, key_only: bool = False) -> MulticastGroup:
    """A multicast group, for DELETE only its id. Raises `Refusal`."""
    if not message.multicast_group_id:
        raise Refusal(Code.INVALID_ARGUMENT, "multicast group id 0 means no multicast; groups start at 1")
    what = f"multicast group {message.multicast_group_id}"
    if key_only:
        return MulticastGroup(message.multicast_group_id, ())
    return MulticastGroup(message.multicast_group_id, _replicas(message.replicas, what), message.metadata)


def decode_clone(message: p4r.CloneSessionEntry, key_only: bool = False) -> CloneSession:
    """A clone session, for DELETE only its id. Raises `Refusal`."""
    if not message.session_id:
        raise Refusal(Code.INVALID_ARGUMENT, "clone session id 0 cannot be programmed; sessions start at 1")
    what = f"clone session {message.session_id}"
    if key_only:
        return CloneSession(message.session_id, ())
    if message.packet_length_bytes < 0:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: packet length {message.packet_length_bytes} is negative")
    if message.class_of_service:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: class of service {message.class_of_service}, only 0 exists here")
    return CloneSession(message.session_id, _replicas(message.replicas, what), 0, message.packet_length_bytes)


def encode_multicast(group: MulticastGroup) -> p4r.Entity:
    """The message."""
    entity = p4r.Entity()
    message = entity.packet_replication_engine_entry.multicast_group_entry
    message.multicast_group_id = group.group_id
    message.metadata = group.metadata
    for replica in group.replicas:
        message.replicas.add(port=encode_unsigned(replica.port), instance=replica.instance)
    return entity


def encode_clone(session: CloneSession) -> p4r.Entity:
    """The message."""
    entity = p4r.Entity()
    message = entity.packet_replication_engine_entry.clone_session_entry
    message.session_id = session.session_id
    message.class_of_service = session.class_of_service
    message.packet_length_bytes = session.packet_length
    for replica in session.replicas:
        message.replicas.add(port=encode_unsigned(replica.port), instance=replica.instance)
    return entity


def _replicas(messages: Sequence[p4r.Replica], what: str) -> tuple[Replica, ...]:
    replicas = tuple(_replica(message, what) for message in messages)
    if len(set(replicas)) != len(replicas):
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: the same port and instance are given twice")
    return replicas


def _replica(message: p4r.Replica, what: str) -> Replica:
    kind = message.WhichOneof("port_kind")
    if kind is None:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: a replica without a port")
    if message.backup_replicas:
        raise Refusal(Code.UNIMPLEMENTED, f"{what}: backup replicas are not supported by this switch")
    if message.instance > _MAX_INSTANCE:
        raise Refusal(Code.INVALID_ARGUMENT, f"{what}: instance {message.instance} is above {_MAX_INSTANCE}")
    if kind == "egress_port":
        if message.egress_port >> _PORT_WIDTH:
            raise Refusal(Code.INVALID_ARGUMENT, f"{what}: port {message.egress_port} is wider than {_PORT_WIDTH} bits")
        return Replica(message.egress_port, message.instance)
    return Replica(decode_unsigned(message.port, _PORT_WIDTH, f"{what} replica port"), message.instance)
