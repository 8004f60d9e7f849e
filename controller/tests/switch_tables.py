"""Reads every table entry of a switch over P4Runtime and prints them as JSON, by the names of the P4Info it runs.

    python switch_tables.py HOST:PORT DEVICE_ID

Only bindings and gRPC, nothing of the controller: what it prints is an outsider's view. Prints
`{table: [{"key": {field: number}, "action": name, "params": {param: number}}]}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

import grpc
from finsy.proto import p4i, p4r, p4r_grpc

_SECONDS = 30.0


class Names:
    """What the P4Info calls things."""

    def __init__(self, p4info: p4i.P4Info) -> None:
        self.tables = {table.preamble.id: table.preamble.alias for table in p4info.tables}
        self.fields = {(t.preamble.id, field.id): field.name for t in p4info.tables for field in t.match_fields}
        self.actions = {action.preamble.id: action.preamble.alias for action in p4info.actions}
        self.params = {(a.preamble.id, param.id): param.name for a in p4info.actions for param in a.params}


def read_tables(address: str, device_id: int) -> dict[str, list[dict[str, object]]]:
    """All entries of all tables. Raises grpc.RpcError."""
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        stub = p4r_grpc.P4RuntimeStub(channel)
        wanted = p4r.GetForwardingPipelineConfigRequest.P4INFO_AND_COOKIE
        request = p4r.GetForwardingPipelineConfigRequest(device_id=device_id, response_type=wanted)
        names = Names(stub.GetForwardingPipelineConfig(request, timeout=_SECONDS).config.p4info)
        everything = p4r.ReadRequest(device_id=device_id, entities=[p4r.Entity(table_entry=p4r.TableEntry())])
        tables: dict[str, list[dict[str, object]]] = {name: [] for name in names.tables.values()}
        for answer in stub.Read(everything, timeout=_SECONDS):
            for entry in _entries(answer):
                tables[names.tables[entry.table_id]].append(_describe(entry, names))
    return tables


def _entries(answer: p4r.ReadResponse) -> Iterator[p4r.TableEntry]:
    for entity in answer.entities:
        if entity.WhichOneof("entity") == "table_entry" and not entity.table_entry.is_default_action:
            yield entity.table_entry


def _describe(entry: p4r.TableEntry, names: Names) -> dict[str, object]:
    key: dict[str, int] = {}
    for match in entry.match:
        name = names.fields[entry.table_id, match.field_id]
        if match.HasField("lpm"):
            key[name] = _number(match.lpm.value)
            key[f"{name}/"] = match.lpm.prefix_len
        else:
            key[name] = _number(match.exact.value)
    action = entry.action.action
    params = {names.params[action.action_id, param.param_id]: _number(param.value) for param in action.params}
    return {"key": key, "action": names.actions[action.action_id], "params": params}


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def main(arguments: Sequence[str]) -> None:
    """Print the tables of the switch that the command line names."""
    if len(arguments) != 2:
        raise SystemExit("usage: switch_tables.py HOST:PORT DEVICE_ID")
    json.dump(read_tables(arguments[0], int(arguments[1])), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
