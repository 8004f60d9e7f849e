"""The program `p4/p4runtime_entities.p4` as the tests of the server use it: its config, its ids, its messages."""

from __future__ import annotations

from pathlib import Path

from finsy.proto import p4i, p4r
from google.protobuf import text_format

_FOLDER = Path(__file__).parent / "p4"
P4INFO_PATH = _FOLDER / "p4runtime_entities.p4info.txtpb"
JSON_PATH = _FOLDER / "p4runtime_entities.json"

P4INFO = text_format.Parse(P4INFO_PATH.read_text(), p4i.P4Info())


def config(cookie: int | None = None) -> p4r.ForwardingPipelineConfig:
    """The program as a forwarding pipeline config."""
    message = p4r.ForwardingPipelineConfig(p4info=P4INFO, p4_device_config=JSON_PATH.read_bytes())
    if cookie is not None:
        message.cookie.cookie = cookie
    return message


def _id(name: str) -> int:
    listed = (
        *P4INFO.tables,
        *P4INFO.actions,
        *P4INFO.action_profiles,
        *P4INFO.counters,
        *P4INFO.direct_counters,
        *P4INFO.meters,
        *P4INFO.direct_meters,
        *P4INFO.registers,
        *P4INFO.digests,
    )
    return next(one.preamble.id for one in listed if one.preamble.name in (name, f"ingress.{name}"))


MAC, SOURCE, ROUTE, ACL = _id("mac_table"), _id("source_table"), _id("route_table"), _id("acl_table")
UPLINK, CONST, KEYLESS = _id("uplink_table"), _id("const_table"), _id("keyless_table")
DROP, FORWARD, FLOOD, TO_CONTROLLER = _id("drop"), _id("forward"), _id("flood"), _id("to_controller")
COUNT_AND_FORWARD, MARK, IGNORE_SOURCE, NO_ACTION = (
    _id("count_and_forward"),
    _id("mark"),
    _id("ignore_source"),
    _id("NoAction"),
)
UPLINKS, PORT_COUNTER, PORT_METER, SEEN, DIGEST = (
    _id("uplinks"),
    _id("port_counter"),
    _id("port_meter"),
    _id("seen"),
    _id("learned_t"),
)

INSERT, MODIFY, DELETE = p4r.Update.INSERT, p4r.Update.MODIFY, p4r.Update.DELETE


def entity(text: str) -> p4r.Entity:
    """An entity from its text format; `$MAC` and the like stand for this module's ids."""
    for name in sorted((name for name in globals() if name.isupper()), key=len, reverse=True):
        text = text.replace(f"${name}", str(globals()[name]))
    return text_format.Parse(text, p4r.Entity())


def mac_entry(dst: int, port: int = 1, extra: str = "") -> p4r.Entity:
    """An entry of the exact table."""
    made = entity(f"table_entry {{ table_id: $MAC action {{ action {{ action_id: $COUNT_AND_FORWARD }} }} {extra} }}")
    made.table_entry.match.add(field_id=1).exact.value = canonical(dst)
    made.table_entry.action.action.params.add(param_id=1, value=canonical(port))
    return made


def update(kind: p4r.Update.Type.ValueType, what: p4r.Entity) -> p4r.Update:
    """One update of a batch."""
    return p4r.Update(type=kind, entity=what)


def canonical(value: int) -> bytes:
    """The shortest byte string of a value."""
    return value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")
