"""One P4Runtime device: packets, digests and idle entries go to the primary, packet-outs come from it.

A core between the switch and its surroundings: the caller brings frames, stream messages and the time, and gives two
functions to send frames and stream messages with. Source: P4Runtime specification 1.4, section 16 (stream messages).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from finsy.proto import p4r

from softswitch.server.arbitration import DEFAULT_ROLE, Arbitration, Notice
from softswitch.server.digests import ReadyList
from softswitch.server.pipeline import LoadSwitch, Pipeline, PipelineStore
from softswitch.server.status import Code, Refusal

__all__ = ["Device", "DeviceStats"]

_IDLE_LIMIT = 1000
"""Entries in one IdleTimeoutNotification: about 100 KB."""


@dataclass(slots=True)
class DeviceStats:
    """Counts since the device was made."""

    no_pipeline: int = 0
    """Frames dropped because no pipeline was set. Expected until a controller comes."""
    packet_ins: int = 0
    """Packets given to a primary."""
    packet_ins_dropped: int = 0
    """Packets for the controller while there was no primary, or too short for their header."""
    packet_outs: int = 0
    """Packets taken from a primary."""
    digest_lists: int = 0
    """Digest lists given to a primary."""
    digests_dropped: int = 0
    """Samples while there was no primary."""
    idle_entries: int = 0
    """Entries reported as idle."""


class Device:
    """The state behind one device id."""

    def __init__(
        self,
        device_id: int,
        load: LoadSwitch,
        *,
        cpu_port: int | None,
        transmit: Callable[[int, bytes], None],
        deliver: Callable[[Hashable, p4r.StreamMessageResponse], None],
        epoch_ns: Callable[[], int],
        activate: Callable[[Pipeline], Pipeline | None] = lambda pipeline: None,
        rename: Callable[[Pipeline], None] = lambda pipeline: None,
    ) -> None:
        """`transmit` sends a frame out of a port; `deliver` puts a message on a client's stream; `epoch_ns` is the
        time of day in nanoseconds since 1970, for the timestamps of messages; `activate` and `rename` are those of
        `PipelineStore`.
        """
        self.device_id = device_id
        self.stats = DeviceStats()
        self.arbitration = Arbitration(device_id)
        self.pipelines = PipelineStore(load, activate, rename)
        self._cpu_port = cpu_port
        self._transmit = transmit
        self._deliver = deliver
        self._epoch_ns = epoch_ns
        self._primaries: list[Hashable] = []

    def check_device(self, device_id: int) -> None:
        """Refuse a request for another device."""
        if device_id != self.device_id:
            raise Refusal(Code.NOT_FOUND, f"no device {device_id} here, only device {self.device_id}")

    # packets

    def process(self, port: int, frame: bytes) -> None:
        """Switch one frame; what it leads to is transmitted and delivered."""
        pipeline = self.pipelines.committed
        if pipeline is None:
            self.stats.no_pipeline += 1
            return
        self._send(pipeline, pipeline.switch.process(port, frame))

    def poll(self) -> None:
        """Take what the kernel's engine has for this process: digests, packets for the controller."""
        pipeline = self.pipelines.committed
        if pipeline is not None:
            self._send(pipeline, pipeline.switch.poll())

    def _send(self, pipeline: Pipeline, packets: Sequence[tuple[int, bytes]]) -> None:
        for out_port, packet in packets:
            if out_port == self._cpu_port:
                self._packet_in(pipeline, packet)
            else:
                self._transmit(out_port, packet)

    def _packet_in(self, pipeline: Pipeline, packet: bytes) -> None:
        message = pipeline.schema.packet_in.packet_in(packet) if self._primaries else None
        if message is None:
            self.stats.packet_ins_dropped += 1
            return
        self.stats.packet_ins += 1
        self._publish(p4r.StreamMessageResponse(packet=message))

    # digests and idle entries

    def collect_digests(self, now_ns: int) -> None:
        """Take the samples of the packets since the last call; to be called after each bunch of packets."""
        pipeline = self.pipelines.committed
        if pipeline is None:
            return
        samples = pipeline.switch.take_digests()
        if samples and not self._primaries:
            self.stats.digests_dropped += len(samples)
            return
        for digest_id, sample in samples:
            ready = pipeline.digests.learn(digest_id, sample, now_ns)
            if ready is not None:
                self._digest_list(pipeline, ready)

    def next_deadline(self) -> int | None:
        """When `handle_timer` is due, in nanoseconds; None: not before something happens."""
        pipeline = self.pipelines.committed
        return None if pipeline is None else pipeline.digests.next_deadline()

    def handle_timer(self, now_ns: int) -> None:
        """Send the digest lists whose time has come."""
        pipeline = self.pipelines.committed
        if pipeline is None:
            return
        for ready in pipeline.digests.handle_timer(now_ns):
            self._digest_list(pipeline, ready)

    def _digest_list(self, pipeline: Pipeline, ready: ReadyList) -> None:
        message = p4r.StreamMessageResponse()
        digest = message.digest
        digest.digest_id = ready.digest_id
        digest.list_id = ready.list_id
        digest.timestamp = self._epoch_ns()
        codec = pipeline.schema.digests[ready.digest_id]
        for sample in ready.samples:
            codec.encode(sample, digest.data.add())
        self.stats.digest_lists += 1
        self._publish(message)

    def report_idle(self, now_ns: int) -> None:
        """Tell the primary about the entries that no packet hit for their idle timeout.

        Without a primary they wait: the next one is told at once.
        """
        pipeline = self.pipelines.committed
        if pipeline is None or not self._primaries:
            return
        keys = pipeline.switch.idle_entries(now_ns)
        self.stats.idle_entries += len(keys)
        for start in range(0, len(keys), _IDLE_LIMIT):
            message = p4r.StreamMessageResponse()
            message.idle_timeout_notification.timestamp = self._epoch_ns()
            for key in keys[start : start + _IDLE_LIMIT]:
                into = message.idle_timeout_notification.table_entry.add()
                pipeline.schema.tables[key.table_id].encode_entry(pipeline.switch.entry(key), into)
            self._publish(message)

    # clients

    def receive(self, stream: Hashable, request: p4r.StreamMessageRequest, now_ns: int) -> None:
        """Take one message of a client's stream. Raises `Refusal` when the stream must be closed with it."""
        kind = request.WhichOneof("update")
        if kind == "arbitration":
            self._arbitrate(stream, request.arbitration)
            return
        try:
            if not self.arbitration.is_primary(stream):
                raise Refusal(
                    Code.PERMISSION_DENIED, "not primary: only the primary may send packets or acknowledge digests"
                )
            if kind == "packet":
                self._packet_out(request.packet, now_ns)
            elif kind == "digest_ack":
                self._acknowledge(request.digest_ack)
            else:
                raise Refusal(Code.UNIMPLEMENTED, f"stream message {kind or 'without content'} is not known here")
        except Refusal as refusal:
            self._deliver(stream, _stream_error(refusal, request))

    def disconnect(self, stream: Hashable) -> None:
        """A client's stream ended."""
        self._notify(self.arbitration.disconnect(stream))

    def _arbitrate(self, stream: Hashable, update: p4r.MasterArbitrationUpdate) -> None:
        if update.role.id and not update.role.name:
            text = f"role id {update.role.id}: numbers for roles are deprecated, set role.name"
            raise Refusal(Code.INVALID_ARGUMENT, text)
        election_id = None
        if update.HasField("election_id"):
            election_id = update.election_id.high << 64 | update.election_id.low
        notices = self.arbitration.update(
            stream,
            device_id=update.device_id,
            role=update.role.name,
            election_id=election_id,
            has_role_config=update.role.HasField("config"),
        )
        self._notify(notices)

    def _notify(self, notices: list[Notice]) -> None:
        primaries = self.arbitration.primaries()
        if primaries != self._primaries:
            self._primaries = primaries
            if self.pipelines.committed is not None:
                self.pipelines.committed.digests.forget_clients()
        for notice in notices:
            self._deliver(notice.stream, self._arbitration_message(notice))

    def _arbitration_message(self, notice: Notice) -> p4r.StreamMessageResponse:
        message = p4r.StreamMessageResponse()
        update = message.arbitration
        update.device_id = self.device_id
        if notice.role != DEFAULT_ROLE:
            update.role.name = notice.role
        if notice.election_id is not None:
            update.election_id.high = notice.election_id >> 64
            update.election_id.low = notice.election_id & 0xFFFF_FFFF_FFFF_FFFF
        update.status.code = notice.code
        update.status.message = notice.message
        return message

    def _packet_out(self, message: p4r.PacketOut, now_ns: int) -> None:
        pipeline = self.pipelines.committed
        if pipeline is None:
            raise Refusal(Code.FAILED_PRECONDITION, "No forwarding pipeline config set for this device")
        if self._cpu_port is None:
            raise Refusal(Code.FAILED_PRECONDITION, "the switch was started without a CPU port: no packet-out")
        packet = pipeline.schema.packet_out.packet_out(message)
        self.stats.packet_outs += 1
        self.process(self._cpu_port, packet)
        self.collect_digests(now_ns)

    def _acknowledge(self, message: p4r.DigestListAck) -> None:
        pipeline = self.pipelines.committed
        if pipeline is None:
            raise Refusal(Code.FAILED_PRECONDITION, "No forwarding pipeline config set for this device")
        pipeline.schema.digest(message.digest_id)
        pipeline.digests.acknowledge(message.digest_id, message.list_id)

    def _publish(self, message: p4r.StreamMessageResponse) -> None:
        for stream in self._primaries:
            self._deliver(stream, message)


def _stream_error(refusal: Refusal, request: p4r.StreamMessageRequest) -> p4r.StreamMessageResponse:
    response = p4r.StreamMessageResponse()
    error = response.error
    error.canonical_code = refusal.code
    error.message = refusal.message
    error.space = "softswitch"
    match request.WhichOneof("update"):
        case "packet":
            error.packet_out.packet_out.CopyFrom(request.packet)
        case "digest_ack":
            error.digest_list_ack.digest_list_ack.CopyFrom(request.digest_ack)
        case _:
            error.other.SetInParent()
    return response
