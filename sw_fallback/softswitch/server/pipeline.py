"""Forwarding pipeline configs: which one switches packets, which one clients talk to.

A saved config has a switch of its own, so writes that follow VERIFY_AND_SAVE land there and COMMIT only has to make
that switch the one that gets the packets.
Source: P4Runtime specification 1.4, sections 7 and 14 (SetForwardingPipelineConfig), 15 (Get…).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from finsy.proto import p4r

from softswitch.errors import EntityError, EntryExists, PipelineError
from softswitch.server.digests import DigestLists
from softswitch.server.read import Reader
from softswitch.server.replication_codec import ReplicationCodec
from softswitch.server.schema import Schema
from softswitch.server.status import Code, Refusal
from softswitch.server.write import Writer
from softswitch.switch import Switch

__all__ = ["ARRAYS", "LoadSwitch", "Pipeline", "PipelineStore"]

LoadSwitch = Callable[[p4r.ForwardingPipelineConfig], Switch]
"""`Switch.load` with everything but the program filled in. Raises `PipelineError`."""

_Actions = p4r.SetForwardingPipelineConfigRequest

ARRAYS = ("counter_entry", "meter_entry", "register_entry")
"""Kinds of entities with a cell for each index."""


class Pipeline:
    """One loaded program: its switch and all that reads and writes it."""

    def __init__(self, config: p4r.ForwardingPipelineConfig, load: LoadSwitch) -> None:
        """Raises `Refusal` INVALID_ARGUMENT when this switch cannot run the program."""
        if not config.HasField("p4info") or not config.p4_device_config:
            missing = "P4Info" if not config.HasField("p4info") else "p4_device_config"
            raise Refusal(Code.INVALID_ARGUMENT, f"the config has no {missing}")
        try:
            self.schema = Schema(config.p4info)
            self.switch = load(config)
        except Refusal as refusal:
            # what a config cannot have is INVALID_ARGUMENT, also where an entity's fault would be UNIMPLEMENTED
            raise Refusal(Code.INVALID_ARGUMENT, refusal.message) from refusal
        except PipelineError as error:
            raise Refusal(Code.INVALID_ARGUMENT, str(error)) from error
        self.config = config
        self.digests = DigestLists()
        replicas = ReplicationCodec()
        self.reader = Reader(self.switch, self.schema, self.digests, replicas)
        self.writer = Writer(self.switch, self.schema, self.digests, replicas)

    def is_same_program(self, config: p4r.ForwardingPipelineConfig) -> bool:
        """Whether a config differs in nothing but its cookie."""
        return self.config.p4_device_config == config.p4_device_config and self.config.p4info == config.p4info

    def entities(
        self, *, tables: Collection[int] | None = None, arrays: Collection[str] = ARRAYS, counts: bool = True
    ) -> Iterator[p4r.Entity]:
        """What makes this pipeline differ from a new one, in an order in which it can be `put` into one.

        tables: whose entries are wanted, by id; None: all of them. arrays: of these kinds. counts: with what table
        entries have counted.
        """
        for request in _requests(self.schema.tables if tables is None else tables, arrays, counts):
            for entity in self.reader.read(request):
                if self.differs(entity):
                    yield entity

    def take_over(self, other: Pipeline) -> None:
        """Write the whole state of another pipeline into this new one. Raises `Refusal` where it does not fit."""
        for entity in other.entities():
            try:
                self.put(entity)
            except (Refusal, EntityError) as error:
                text = f"the forwarding state cannot be kept: {error}; use VERIFY_AND_COMMIT to start empty"
                raise Refusal(Code.INVALID_ARGUMENT, text) from error

    def put(self, entity: p4r.Entity) -> None:
        """Write one of another pipeline's entities into this new one. Raises `Refusal`, `EntityError`."""
        if entity.WhichOneof("entity") in _ALWAYS_THERE or entity.table_entry.is_default_action:
            self.writer.apply(p4r.Update.MODIFY, entity)
            return
        try:
            self.writer.apply(p4r.Update.INSERT, entity)
        except EntryExists:  # an initial entry of the program
            self.writer.apply(p4r.Update.MODIFY, entity)

    def differs(self, entity: p4r.Entity) -> bool:
        """Whether an entity differs from what a new pipeline has by itself."""
        match entity.WhichOneof("entity"):
            case "table_entry":
                message = entity.table_entry
                if message.is_default_action:
                    return message.table_id in self.writer.changed_defaults
                return not message.is_const
            case "counter_entry":
                return bool(entity.counter_entry.data.packet_count or entity.counter_entry.data.byte_count)
            case "meter_entry":
                return entity.meter_entry.HasField("config")
            case "register_entry":
                return any(self.schema.registers[entity.register_entry.register_id].decode(entity.register_entry.data))
        return True


_ALWAYS_THERE = frozenset(ARRAYS)
"""Entities that can only be modified."""


def _requests(tables: Iterable[int], arrays: Collection[str], counts: bool) -> Iterator[p4r.Entity]:
    """Reads that together select what a client can write: members before groups before entries."""
    yield p4r.Entity(action_profile_member=p4r.ActionProfileMember())
    yield p4r.Entity(action_profile_group=p4r.ActionProfileGroup())
    replicas = p4r.PacketReplicationEngineEntry
    yield p4r.Entity(packet_replication_engine_entry=replicas(multicast_group_entry=p4r.MulticastGroupEntry()))
    yield p4r.Entity(packet_replication_engine_entry=replicas(clone_session_entry=p4r.CloneSessionEntry()))
    for table_id in tables:
        entries = p4r.TableEntry(table_id=table_id, meter_config=p4r.MeterConfig())
        if counts:
            entries.counter_data.SetInParent()
        yield p4r.Entity(table_entry=entries)
    yield p4r.Entity(table_entry=p4r.TableEntry(is_default_action=True))
    for kind in arrays:
        entity = p4r.Entity()
        getattr(entity, kind).SetInParent()
        yield entity
    yield p4r.Entity(digest_entry=p4r.DigestEntry())


class PipelineStore:
    """The configs of one device."""

    def __init__(
        self,
        load: LoadSwitch,
        activate: Callable[[Pipeline], Pipeline | None],
        rename: Callable[[Pipeline], None] = lambda pipeline: None,
    ) -> None:
        """`activate` is told the pipeline whose switch is to get the packets, before it is committed; it may
        return another one with the same state that got them in its place, and raises `PipelineError` or `Refusal`
        where neither can be. `rename` is told of one that got another cookie."""
        self._load = load
        self._activate = activate
        self._rename = rename
        self.committed: Pipeline | None = None
        """What switches packets."""
        self._saved: Pipeline | None = None

    def current(self) -> Pipeline:
        """What clients read and write: the saved config until it is committed. Raises `Refusal`."""
        pipeline = self._saved or self.committed
        if pipeline is None:
            raise Refusal(Code.FAILED_PRECONDITION, "No forwarding pipeline config set for this device")
        return pipeline

    def preload(self, config: p4r.ForwardingPipelineConfig) -> None:
        """Start with a program that no client set. Raises `Refusal`."""
        self.start_with(Pipeline(config, self._load))

    def start_with(self, pipeline: Pipeline) -> None:
        """Start with a pipeline that no client set. Raises `Refusal`."""
        self._commit(pipeline)

    def close(self) -> None:
        """Give back what the switches hold."""
        for pipeline in (self._saved, self.committed):
            if pipeline is not None:
                pipeline.switch.close()
        self._saved = self.committed = None

    def _commit(self, pipeline: Pipeline) -> None:
        """Let this pipeline's switch have the packets; what was there before is closed."""
        try:
            running = self._activate(pipeline) or pipeline
        except (PipelineError, Refusal) as error:
            pipeline.switch.close()
            if pipeline is self._saved:
                self._saved = None
            if isinstance(error, PipelineError):
                raise Refusal(Code.INTERNAL, str(error)) from error
            raise
        for old in {self.committed, self._saved, pipeline}:
            if old is not None and old is not running:
                old.switch.close()
        self.committed, self._saved = running, None

    def prepare(self, request: p4r.SetForwardingPipelineConfigRequest) -> Pipeline | None:
        """The slow part of a request, which changes nothing: load and verify its config, if it has to have one.

        Raises `Refusal`.
        """
        action = request.action
        if action not in _Actions.Action.values() or action == _Actions.UNSPECIFIED:
            raise Refusal(Code.INVALID_ARGUMENT, f"action {action} is none that this call knows")
        if action == _Actions.COMMIT:
            if request.HasField("config"):
                raise Refusal(Code.INVALID_ARGUMENT, "COMMIT takes the saved config: leave config out")
            return None
        if not request.HasField("config"):
            raise Refusal(Code.INVALID_ARGUMENT, f"{_Actions.Action.Name(action)} without a config")
        config = p4r.ForwardingPipelineConfig()
        config.CopyFrom(request.config)
        return Pipeline(config, self._load)

    def finish(self, action: int, pipeline: Pipeline | None) -> None:
        """The quick part: make what `prepare` returned what the action says. Raises `Refusal`."""
        if action == _Actions.COMMIT:
            if self._saved is None:
                raise Refusal(Code.NOT_FOUND, "no saved config: VERIFY_AND_SAVE one first")
            self._commit(self._saved)
        elif pipeline is None:
            return
        elif action == _Actions.VERIFY:
            pipeline.switch.close()
        elif action == _Actions.VERIFY_AND_SAVE:
            if self._saved is not None:
                self._saved.switch.close()
            self._saved = pipeline
        elif action == _Actions.VERIFY_AND_COMMIT:
            self._commit(pipeline)
        elif action == _Actions.RECONCILE_AND_COMMIT:
            self._reconcile(pipeline)

    def answer(self, response_type: int) -> p4r.GetForwardingPipelineConfigResponse:
        """What GetForwardingPipelineConfig returns; without a config before one is set (section 15)."""
        types = p4r.GetForwardingPipelineConfigRequest
        if response_type not in types.ResponseType.values():
            raise Refusal(Code.INVALID_ARGUMENT, f"response type {response_type} is unknown")
        response = p4r.GetForwardingPipelineConfigResponse()
        pipeline = self._saved or self.committed
        if pipeline is None:
            return response
        response.config.SetInParent()
        if pipeline.config.HasField("cookie"):
            response.config.cookie.CopyFrom(pipeline.config.cookie)
        if response_type in (types.ALL, types.P4INFO_AND_COOKIE):
            response.config.p4info.CopyFrom(pipeline.config.p4info)
        if response_type in (types.ALL, types.DEVICE_CONFIG_AND_COOKIE):
            response.config.p4_device_config = pipeline.config.p4_device_config
        return response

    def _reconcile(self, pipeline: Pipeline) -> None:
        running = self.committed
        if running is not None and running.is_same_program(pipeline.config):
            running.config = pipeline.config  # the cookie may be new
            self._rename(running)
            pipeline.switch.close()
            if self._saved is not None:
                self._saved.switch.close()
                self._saved = None
            return
        if running is not None:
            try:
                pipeline.take_over(running)
            except Refusal:
                pipeline.switch.close()
                raise
        self._commit(pipeline)
