"""Entries, digests and packets to and from P4Runtime's messages, by the P4Info of the loaded program.

Connection entries and digests are hot: field ids and names are resolved once, when the codec is made, and each message
is then one loop over ints. Byte strings are written canonically (P4Runtime 1.4, 8.4: no leading zero bytes) and read in
any length.

    CodecError
    ├── ProgramMismatchError   the P4Info is not that of `depot.p4` as this controller knows it
    └── RemoteEntryError       the switch sent what the P4Info does not allow
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from finsy.proto import p4i, p4r
from google.protobuf import text_format

from depot.p4runtime.entry import ACTION_PARAMS, KEY_FIELDS, PRIORITISED, TWO_PLACES, Action, Entry, EntryKey, Table
from depot.p4runtime.packets import PacketIn, PacketOut
from depot.p4runtime.reconcile import Operation, Update

__all__ = ["Codec", "CodecError", "Count", "Digest", "ProgramMismatchError", "RemoteEntryError", "parse_p4info"]

DIGEST_FIELDS: dict[str, tuple[str, ...]] = {
    "new_flow_t": (
        "addr_lo", "addr_hi", "port_lo", "port_hi", "protocol", "client_is_hi", "tcp_flags", "vip_id", "member_id",
        "remembered",
    ),
    "tcp_event_t": ("addr_lo", "addr_hi", "port_lo", "port_hi", "src_is_hi", "tcp_flags"),
    "neighbour_seen_t": ("port", "address", "mac"),
}  # fmt: skip
"""The digests of `depot.p4` with their members in order."""

_UPDATE_TYPES = {
    Operation.INSERT: p4r.Update.INSERT,
    Operation.MODIFY: p4r.Update.MODIFY,
    Operation.DELETE: p4r.Update.DELETE,
}
_PACKET_IN_FIELDS = ("ingress_port", "reason", "from_peer", "detail", "address")
_PACKET_OUT_FIELDS = ("egress_port", "ingress_port", "submit_to_ingress", "member_id", "from_peer")


class CodecError(Exception):
    """Something that cannot be put into, or taken from, a P4Runtime message."""


class ProgramMismatchError(CodecError):
    """The P4Info lacks a table, action, digest or field that this controller uses, or has it in another shape."""


class RemoteEntryError(CodecError):
    """A message of the switch names what the P4Info does not have, or has values where none may be."""


class Count(NamedTuple):
    """A counter cell."""

    packets: int
    """Packets."""
    octets: int
    """Bytes of whole frames."""


class Digest(NamedTuple):
    """A digest list as it came."""

    name: str
    """One of `DIGEST_FIELDS`."""
    digest_id: int
    """Its P4Runtime id, for the acknowledgement."""
    list_id: int
    """The list's id, for the acknowledgement."""
    samples: list[tuple[int, ...]]
    """One tuple a sample, in the order of `DIGEST_FIELDS`."""


class _TableCodec(NamedTuple):
    table: Table
    table_id: int
    field_ids: tuple[int, ...]
    shapes: tuple[tuple[p4i.MatchField.MatchType.ValueType, int], ...]
    """Kind and bits of each field of a table in `TWO_PLACES`; empty for a table of exact fields."""


class _ActionCodec(NamedTuple):
    action: Action
    action_id: int
    param_ids: tuple[int, ...]


def parse_p4info(text: str) -> p4i.P4Info:
    """Return the P4Info of its text format. Raises ProgramMismatchError when it is none."""
    try:
        return text_format.Parse(text, p4i.P4Info())
    except text_format.ParseError as error:
        raise ProgramMismatchError(f"this is no P4Info in text format: {error}") from error


class Codec:
    """Translates for one P4Info. Raises ProgramMismatchError when that is not of our program."""

    def __init__(self, p4info: p4i.P4Info) -> None:
        self._tables = {codec.table: codec for codec in _tables(p4info)}
        self._actions = {codec.action: codec for codec in _actions(p4info)}
        self._digest_ids = _digests(p4info)
        self._table_of_id = {codec.table_id: codec for codec in self._tables.values()}
        self._action_of_id = {codec.action_id: codec for codec in self._actions.values()}
        self._digest_of_id = {digest_id: name for name, digest_id in self._digest_ids.items()}
        self._counter_ids = {one.preamble.alias: one.preamble.id for one in p4info.counters}
        self._counter_of_id = {counter_id: name for name, counter_id in self._counter_ids.items()}
        self._packet_in_ids = _metadata_ids(p4info, "packet_in", _PACKET_IN_FIELDS)
        self._packet_out_ids = _metadata_ids(p4info, "packet_out", _PACKET_OUT_FIELDS)

    # Table entries

    def encode_entry(self, entry: Entry, message: p4r.TableEntry) -> None:
        """Fill an empty message with the whole entry."""
        self.encode_key(entry, message)
        codec = self._actions[entry.action]
        action = message.action.action
        action.action_id = codec.action_id
        for param_id, value in zip(codec.param_ids, entry.params, strict=True):
            param = action.params.add()
            param.param_id = param_id
            param.value = value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")
        if entry.idle_timeout_ns:
            message.idle_timeout_ns = entry.idle_timeout_ns

    def encode_key(self, entry: Entry | EntryKey, message: p4r.TableEntry) -> None:
        """Fill an empty message with the entry's table and match."""
        codec = self._tables[entry.table]
        message.table_id = codec.table_id
        values = entry.values
        if codec.shapes:
            _encode_pairs(codec, values, message)
            return
        for field_id, value in zip(codec.field_ids, values, strict=True):
            match = message.match.add()
            match.field_id = field_id
            match.exact.value = value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")

    def decode_entry(self, message: p4r.TableEntry) -> Entry:
        """Return the entry of a message. Raises RemoteEntryError."""
        codec = self._table_of_id.get(message.table_id)
        if codec is None:
            raise RemoteEntryError(f"table id {message.table_id:#x} is not in the P4Info")
        action = message.action.action
        known = self._action_of_id.get(action.action_id)
        if known is None:
            raise RemoteEntryError(f"{codec.table}: action id {action.action_id:#x} is none that entries carry")
        params = {param.param_id: int.from_bytes(param.value, "big") for param in action.params}
        if params.keys() != set(known.param_ids):
            raise RemoteEntryError(f"{codec.table}: {known.action} has parameters {sorted(params)}")
        return Entry(
            codec.table,
            self._decode_match(codec, message),
            known.action,
            tuple([params[param_id] for param_id in known.param_ids]),
            message.idle_timeout_ns,
        )

    def decode_key(self, message: p4r.TableEntry) -> EntryKey:
        """Return what an idle timeout names: an entry without its action. Raises RemoteEntryError."""
        codec = self._table_of_id.get(message.table_id)
        if codec is None:
            raise RemoteEntryError(f"table id {message.table_id:#x} is not in the P4Info")
        return EntryKey(codec.table, self._decode_match(codec, message))

    def _decode_match(self, codec: _TableCodec, message: p4r.TableEntry) -> tuple[int, ...]:
        if codec.shapes:
            return _decode_pairs(codec, message)
        values = {match.field_id: int.from_bytes(match.exact.value, "big") for match in message.match}
        if values.keys() != set(codec.field_ids):
            raise RemoteEntryError(f"{codec.table}: an entry has match fields {sorted(values)}")
        return tuple([values[field_id] for field_id in codec.field_ids])

    def encode_updates(self, updates: Iterable[Update], request: p4r.WriteRequest) -> None:
        """Append the updates to a write request."""
        for operation, entry in updates:
            update = request.updates.add()
            update.type = _UPDATE_TYPES[operation]
            if operation is Operation.DELETE:
                self.encode_key(entry, update.entity.table_entry)
            else:
                self.encode_entry(entry, update.entity.table_entry)

    def read_table(self, table: Table, *, counters: bool = False) -> p4r.Entity:
        """The wildcard that reads a whole table, with its entries' direct counters if wanted."""
        entity = p4r.Entity(table_entry=p4r.TableEntry(table_id=self._tables[table].table_id))
        if counters:
            entity.table_entry.counter_data.SetInParent()
        return entity

    # Digests

    @property
    def digest_ids(self) -> tuple[int, ...]:
        """The P4Runtime ids of the program's digests."""
        return tuple(self._digest_ids.values())

    def decode_digest(self, message: p4r.DigestList) -> Digest:
        """Return the samples of a list. Raises RemoteEntryError."""
        name = self._digest_of_id.get(message.digest_id)
        if name is None:
            raise RemoteEntryError(f"digest id {message.digest_id:#x} is not in the P4Info")
        size = len(DIGEST_FIELDS[name])
        from_bytes = int.from_bytes
        samples = [tuple([from_bytes(one.bitstring, "big") for one in data.struct.members]) for data in message.data]
        if any(len(sample) != size for sample in samples):
            raise RemoteEntryError(f"{name}: a sample has not {size} members")
        return Digest(name, message.digest_id, message.list_id, samples)

    # Packets

    def decode_packet_in(self, message: p4r.PacketIn) -> PacketIn:
        """Return a packet with its metadata. Raises RemoteEntryError."""
        fields = {one.metadata_id: int.from_bytes(one.value, "big") for one in message.metadata}
        try:
            port, reason, from_peer, detail, address = (fields[metadata_id] for metadata_id in self._packet_in_ids)
        except KeyError as missing:
            raise RemoteEntryError(f"packet-in without metadata id {missing}") from None
        return PacketIn(port, reason, detail, address, message.payload, from_peer != 0)

    def encode_packet_out(self, packet: PacketOut) -> p4r.StreamMessageRequest:
        """Return the stream message that sends a packet."""
        message = p4r.StreamMessageRequest()
        message.packet.payload = packet.payload
        values = (packet.egress_port, packet.ingress_port, packet.submit, packet.member_id, packet.from_peer)
        for metadata_id, value in zip(self._packet_out_ids, values, strict=True):
            message.packet.metadata.add(metadata_id=metadata_id, value=value.to_bytes(2 if value > 255 else 1, "big"))
        return message

    # Counters

    def read_counters(self) -> list[p4r.Entity]:
        """Wildcards that read every cell of the program's indirect counters."""
        return [
            p4r.Entity(counter_entry=p4r.CounterEntry(counter_id=counter_id))
            for counter_id in self._counter_ids.values()
        ]

    def decode_counter(self, message: p4r.CounterEntry) -> tuple[str, int, Count]:
        """Return name, index and count of a cell. Raises RemoteEntryError."""
        name = self._counter_of_id.get(message.counter_id)
        if name is None:
            raise RemoteEntryError(f"counter id {message.counter_id:#x} is not in the P4Info")
        return name, message.index.index, decode_count(message.data)


def decode_count(message: p4r.CounterData) -> Count:
    """Return the value of a counter cell."""
    return Count(message.packet_count, message.byte_count)


def _bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")


def _encode_pairs(codec: _TableCodec, values: Sequence[int], message: p4r.TableEntry) -> None:
    """Fields that match everything are left out (P4Runtime 1.4, 9.1.1)."""
    pairs = zip(values[::2], values[1::2], strict=False)
    for field_id, (kind, width), (first, second) in zip(codec.field_ids, codec.shapes, pairs, strict=True):
        if kind == p4i.MatchField.RANGE:
            if (first, second) != (0, (1 << width) - 1):
                match = message.match.add(field_id=field_id)
                match.range.low, match.range.high = _bytes(first), _bytes(second)
        elif second:
            match = message.match.add(field_id=field_id)
            if kind == p4i.MatchField.LPM:
                match.lpm.value, match.lpm.prefix_len = _bytes(first), second
            elif kind == p4i.MatchField.TERNARY:
                match.ternary.value, match.ternary.mask = _bytes(first), _bytes(second)
            else:
                match.optional.value = _bytes(first)
    if codec.table in PRIORITISED:
        message.priority = values[-1]


def _decode_pairs(codec: _TableCodec, message: p4r.TableEntry) -> tuple[int, ...]:
    matches = {match.field_id: match for match in message.match}
    if not matches.keys() <= set(codec.field_ids):
        raise RemoteEntryError(f"{codec.table}: an entry has match fields {sorted(matches)}")
    values: list[int] = []
    for field_id, (kind, width) in zip(codec.field_ids, codec.shapes, strict=True):
        match = matches.get(field_id)
        values += _everything(kind, width) if match is None else _decode_pair(codec, kind, match)
    if codec.table in PRIORITISED:
        values.append(message.priority)
    return tuple(values)


def _everything(kind: p4i.MatchField.MatchType.ValueType, width: int) -> tuple[int, int]:
    return (0, (1 << width) - 1) if kind == p4i.MatchField.RANGE else (0, 0)


def _decode_pair(
    codec: _TableCodec, kind: p4i.MatchField.MatchType.ValueType, match: p4r.FieldMatch
) -> tuple[int, int]:
    from_bytes = int.from_bytes
    match kind, match.WhichOneof("field_match_type"):
        case p4i.MatchField.RANGE, "range":
            return from_bytes(match.range.low, "big"), from_bytes(match.range.high, "big")
        case p4i.MatchField.LPM, "lpm" if match.lpm.prefix_len:
            return from_bytes(match.lpm.value, "big"), match.lpm.prefix_len
        case p4i.MatchField.TERNARY, "ternary":
            mask = from_bytes(match.ternary.mask, "big")
            return from_bytes(match.ternary.value, "big") & mask, mask
        case p4i.MatchField.OPTIONAL, "optional":
            return from_bytes(match.optional.value, "big"), 1
        case _, found:
            raise RemoteEntryError(f"{codec.table}: match field {match.field_id} has {found or 'no value'}")


def _tables(p4info: p4i.P4Info) -> Iterable[_TableCodec]:
    described = {one.preamble.alias: one for one in p4info.tables}
    for table, fields in KEY_FIELDS.items():
        one = described.get(table.value)
        if one is None:
            raise ProgramMismatchError(f"the P4Info has no table {table}")
        by_name = {field.name: field for field in one.match_fields}
        if by_name.keys() != set(fields):
            raise ProgramMismatchError(f"{table} matches on {sorted(by_name)}, expected was {sorted(fields)}")
        shapes = tuple((by_name[name].match_type, by_name[name].bitwidth) for name in fields)
        if all(kind == p4i.MatchField.EXACT for kind, _ in shapes) == (table in TWO_PLACES):
            raise ProgramMismatchError(f"{table} matches in another way on {sorted(by_name)}")
        in_pairs = shapes if table in TWO_PLACES else ()
        yield _TableCodec(table, one.preamble.id, tuple(by_name[name].id for name in fields), in_pairs)


def _actions(p4info: p4i.P4Info) -> Iterable[_ActionCodec]:
    described = {one.preamble.alias: one for one in p4info.actions}
    for action, params in ACTION_PARAMS.items():
        one = described.get(action.value)
        if one is None:
            raise ProgramMismatchError(f"the P4Info has no action {action}")
        by_name = {param.name: param.id for param in one.params}
        if by_name.keys() != set(params):
            raise ProgramMismatchError(f"{action} has parameters {sorted(by_name)}, expected was {sorted(params)}")
        yield _ActionCodec(action, one.preamble.id, tuple(by_name[name] for name in params))


def _digests(p4info: p4i.P4Info) -> dict[str, int]:
    described = {one.preamble.name: one.preamble.id for one in p4info.digests}
    for name, fields in DIGEST_FIELDS.items():
        members = tuple(member.name for member in p4info.type_info.structs[name].members)
        if name not in described or members != fields:
            raise ProgramMismatchError(f"digest {name} has members {members}, expected was {fields}")
    return {name: described[name] for name in DIGEST_FIELDS}


def _metadata_ids(p4info: p4i.P4Info, header: str, fields: tuple[str, ...]) -> tuple[int, ...]:
    for one in p4info.controller_packet_metadata:
        if one.preamble.name == header:
            by_name = {field.name: field.id for field in one.metadata}
            if by_name.keys() == set(fields):
                return tuple(by_name[name] for name in fields)
            raise ProgramMismatchError(f"header {header} has fields {sorted(by_name)}, expected was {sorted(fields)}")
    raise ProgramMismatchError(f"the P4Info has no controller header {header}")
