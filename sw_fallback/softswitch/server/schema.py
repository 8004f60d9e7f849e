"""One P4Info, compiled into the codecs that the server reads and writes entities with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from finsy.proto import p4i

from softswitch.server.action_codec import ActionCodec
from softswitch.server.p4data import P4DataCodec
from softswitch.server.packet_io import controller_header
from softswitch.server.status import Code, Refusal
from softswitch.server.table_codec import TableCodec

__all__ = ["Schema"]

T = TypeVar("T")


class Schema:
    """Codecs by P4Info id."""

    def __init__(self, p4info: p4i.P4Info) -> None:
        """Raises `Refusal` INVALID_ARGUMENT or UNIMPLEMENTED when the P4Info cannot be served."""
        self.actions = {action.preamble.id: ActionCodec(action) for action in p4info.actions}
        self.profiles = {profile.preamble.id: profile for profile in p4info.action_profiles}
        self.counters = {counter.preamble.id: counter.preamble.name for counter in p4info.counters}
        self.meters = {meter.preamble.id: meter.preamble.name for meter in p4info.meters}
        self.value_sets = {one.preamble.id: one.preamble.name for one in p4info.value_sets}
        self.packet_in = controller_header(p4info, "packet_in")
        self.packet_out = controller_header(p4info, "packet_out")
        direct_counters = frozenset(one.preamble.id for one in p4info.direct_counters)
        direct_meters = frozenset(one.preamble.id for one in p4info.direct_meters)
        try:
            self.tables = {
                table.preamble.id: TableCodec(table, self.actions, self.profiles, direct_counters, direct_meters)
                for table in p4info.tables
            }
            self.registers = {
                one.preamble.id: P4DataCodec(one.type_spec, p4info.type_info, f"register {one.preamble.name}")
                for one in p4info.registers
            }
            self.digests = {
                one.preamble.id: P4DataCodec(one.type_spec, p4info.type_info, f"digest {one.preamble.name}")
                for one in p4info.digests
            }
        except KeyError as error:
            raise Refusal(Code.INVALID_ARGUMENT, f"P4Info: it names {error}, which it does not define") from error
        self.profile_actions = {
            profile_id: {
                ref.id for table in p4info.tables if table.implementation_id == profile_id for ref in table.action_refs
            }
            for profile_id in self.profiles
        }
        """Ids of the actions that members of each profile may run."""

    def table(self, table_id: int) -> TableCodec:
        """The table's codec. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.tables, table_id, "table")

    def profile(self, profile_id: int) -> p4i.ActionProfile:
        """The action profile or selector. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.profiles, profile_id, "action profile")

    def counter(self, counter_id: int) -> str:
        """The indirect counter's name. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.counters, counter_id, "counter")

    def meter(self, meter_id: int) -> str:
        """The indirect meter's name. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.meters, meter_id, "meter")

    def register(self, register_id: int) -> P4DataCodec:
        """The register's cell codec. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.registers, register_id, "register")

    def digest(self, digest_id: int) -> P4DataCodec:
        """The digest's sample codec. Raises `Refusal` INVALID_ARGUMENT for an unknown id."""
        return _find(self.digests, digest_id, "digest")


def _find(known: Mapping[int, T], number: int, kind: str) -> T:
    found = known.get(number)
    if found is None:
        raise Refusal(Code.INVALID_ARGUMENT, f"no {kind} has id {number:#x} in the P4Info")
    return found
