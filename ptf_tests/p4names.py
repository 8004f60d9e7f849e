"""The program's objects by the names that the cases use, from the P4Info."""

from __future__ import annotations

from pathlib import Path

from finsy.proto import p4i
from google.protobuf import text_format

__all__ = ["P4Names"]


class P4Names:
    """Tables, actions, counters, digests and controller headers of one P4Info, by alias."""

    def __init__(self, p4info: Path) -> None:
        self.p4info = text_format.Parse(p4info.read_text(), p4i.P4Info())
        self.tables = {table.preamble.alias: table for table in self.p4info.tables}
        self.actions = {action.preamble.alias: action for action in self.p4info.actions}
        self.counters = {counter.preamble.alias: counter for counter in self.p4info.counters}
        self.digests = {digest.preamble.alias: digest for digest in self.p4info.digests}
        self.headers = {header.preamble.name: header for header in self.p4info.controller_packet_metadata}
        self.digest_names = {digest.preamble.id: alias for alias, digest in self.digests.items()}

    def header_widths(self, name: str) -> dict[str, int]:
        """Field to bits of `packet_in` or `packet_out`, in order."""
        return {field.name: field.bitwidth for field in self.headers[name].metadata}
