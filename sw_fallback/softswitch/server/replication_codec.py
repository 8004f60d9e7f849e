"""Multicast groups and clone sessions between messages and `softswitch.entities`.

Source: P4Runtime specification 1.4, section 9.5 (PacketReplicationEngineEntry).
"""

from __future__ import annotations

from collections.abc import Sequence

from finsy.proto import p4r

from softswitch.entities import CloneSession, MulticastGroup, Replica
from softswitch.server.bytestrings import decode_unsigned, encode_unsigned
from softswitch.server.status import Code, Refusal
from softswitch.switch import MulticastKey, SessionKey

__all__ = ["ReplicationCodec"]

_PORT_WIDTH = 9
"""Of `egress_spec` in v1model."""
_MAX_INSTANCE = 0xFFFF
"""Of `egress_rid` in v1model."""


class ReplicationCodec:
    """Both directions, with a memory: replicas come back in the form of port that their client wrote.

    Clients older than P4Runtime 1.4 write `egress_port` and know no `port`.
    """

    def __init__(self) -> None:
        self._old_form: set[MulticastKey | SessionKey] = set()

    def decode_multicast(self, message: p4r.MulticastGroupEntry, key_only: bool = False) -> MulticastGroup:
        """A multicast group, for DELETE only its id. Raises `Refusal`."""
        group_id = message.multicast_group_id
        if not group_id:
            raise Refusal(Code.INVALID_ARGUMENT, "multicast group id 0 means no multicast; groups start at 1")
        if key_only:
            return MulticastGroup(group_id, ())
        replicas = self._replicas(message.replicas, MulticastKey(group_id), f"multicast group {group_id}")
        return MulticastGroup(group_id, replicas, message.metadata)

    def decode_clone(self, message: p4r.CloneSessionEntry, key_only: bool = False) -> CloneSession:
        """A clone session, for DELETE only its id. Raises `Refusal`."""
        session_id = message.session_id
        if not session_id:
            raise Refusal(Code.INVALID_ARGUMENT, "clone session id 0 cannot be programmed; sessions start at 1")
        if key_only:
            return CloneSession(session_id, ())
        what = f"clone session {session_id}"
        if message.packet_length_bytes < 0:
            raise Refusal(Code.INVALID_ARGUMENT, f"{what}: packet length {message.packet_length_bytes} is negative")
        if message.class_of_service:
            text = f"{what}: class of service {message.class_of_service}, only 0 exists here"
            raise Refusal(Code.INVALID_ARGUMENT, text)
        replicas = self._replicas(message.replicas, SessionKey(session_id), what)
        return CloneSession(session_id, replicas, 0, message.packet_length_bytes)

    def encode_multicast(self, group: MulticastGroup) -> p4r.Entity:
        """The message."""
        entity = p4r.Entity()
        message = entity.packet_replication_engine_entry.multicast_group_entry
        message.multicast_group_id = group.group_id
        message.metadata = group.metadata
        self._encode(group.replicas, MulticastKey(group.group_id), message)
        return entity

    def encode_clone(self, session: CloneSession) -> p4r.Entity:
        """The message."""
        entity = p4r.Entity()
        message = entity.packet_replication_engine_entry.clone_session_entry
        message.session_id = session.session_id
        message.class_of_service = session.class_of_service
        message.packet_length_bytes = session.packet_length
        self._encode(session.replicas, SessionKey(session.session_id), message)
        return entity

    def _encode(
        self,
        replicas: Sequence[Replica],
        key: MulticastKey | SessionKey,
        into: p4r.MulticastGroupEntry | p4r.CloneSessionEntry,
    ) -> None:
        for replica in replicas:
            if key in self._old_form:
                into.replicas.add(egress_port=replica.port, instance=replica.instance)
            else:
                into.replicas.add(port=encode_unsigned(replica.port), instance=replica.instance)

    def _replicas(
        self, messages: Sequence[p4r.Replica], key: MulticastKey | SessionKey, what: str
    ) -> tuple[Replica, ...]:
        replicas = tuple(_replica(message, what) for message in messages)
        if len(set(replicas)) != len(replicas):
            raise Refusal(Code.INVALID_ARGUMENT, f"{what}: the same port and instance are given twice")
        if any(message.HasField("egress_port") for message in messages):
            self._old_form.add(key)
        else:
            self._old_form.discard(key)
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
