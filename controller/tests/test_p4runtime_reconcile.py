"""What is written to make a switch hold what it should, in which order, and what becomes of refused writes."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from controller.tests.p4runtime_values import ENTRIES
from hypothesis import given
from hypothesis import strategies as st

from depot.p4runtime.arbitration import FIRST_ELECTION_ID, Arbitration, Role, StatusCode
from depot.p4runtime.entry import Entry, EntryKey, Table, nat_member_entry, schedule_entry, vip_entry
from depot.p4runtime.reconcile import Operation, Update, reconcile
from depot.p4runtime.write_errors import UpdateError, WriteFailure, sort_failures

VIP = (1, 80, 6)


def service(members: Iterable[int], slots: Iterable[int]) -> dict[EntryKey, Entry]:
    """A VIP whose slots go to these members."""
    slots = list(slots)
    entries = [nat_member_entry(member, 100 + member, 80) for member in members]
    entries += [schedule_entry(0, slot, member) for slot, member in enumerate(slots)]
    entries.append(vip_entry(*VIP, 0, len(slots)))
    return {entry.key: entry for entry in entries}


class Tables:
    """A switch's tables that refuse what leads nowhere, whichever order a batch is done in."""

    def __init__(self, entries: dict[EntryKey, Entry]) -> None:
        self.entries = dict(entries)

    def write(self, batch: list[Update]) -> None:
        for operation, entry in batch:
            exists = entry.key in self.entries
            assert exists == (operation is not Operation.INSERT), f"{operation.name} of {entry}"
            if operation is Operation.DELETE:
                del self.entries[entry.key]
            else:
                self.entries[entry.key] = entry

    def check(self) -> None:
        """Every VIP's slots are there, and every slot's member."""
        for entry in self.entries.values():
            if entry.table is Table.VIP:
                vip_id, size, _ = entry.params
                for slot in range(size):
                    assert EntryKey(Table.SCHEDULE, (vip_id, slot)) in self.entries
            elif entry.table is Table.SCHEDULE:
                assert EntryKey(Table.MEMBER, entry.params) in self.entries


slots_of = st.lists(st.integers(0, 5), max_size=12)


class TestOrder:
    @given(slots_of, slots_of)
    def test_between_batches_nothing_leads_nowhere(self, before: list[int], after: list[int]) -> None:
        held, wanted = service(set(before), before), service(set(after), after)
        tables = Tables(held)
        for batch in reconcile(wanted, held):
            tables.write(batch)
            tables.check()
        assert tables.entries == wanted

    @given(slots_of)
    def test_nothing_and_back(self, slots: list[int]) -> None:
        wanted = service(set(slots), slots)
        tables = Tables({})
        for batch in [*reconcile(wanted, {}), *reconcile({}, wanted)]:
            tables.write(batch)
            tables.check()
        assert tables.entries == {}

    @given(slots_of)
    def test_equal_tables_need_no_write(self, slots: list[int]) -> None:
        held = service(set(slots), slots)
        assert reconcile(dict(reversed(held.items())), held) == []

    def test_every_table_has_its_place(self) -> None:
        batches = reconcile(ENTRIES.values(), {})
        assert sum(len(batch) for batch in batches) == len({entry.key for entry in ENTRIES.values()})

    def test_only_the_difference_is_written(self) -> None:
        held, wanted = service([1, 2], [1, 2, 1]), service([1, 2], [1, 2, 2])
        assert reconcile(wanted, held) == [[Update(Operation.MODIFY, schedule_entry(0, 2, 2))]]


class TestFailures:
    CONNECTION = ENTRIES["connection"]

    def sorted(self, operation: Operation, code: int) -> tuple[list[Update], list[WriteFailure]]:
        return sort_failures([Update(operation, self.CONNECTION)], [UpdateError(code, "why")])

    @pytest.mark.parametrize("operation", Operation)
    def test_what_was_done(self, operation: Operation) -> None:
        assert self.sorted(operation, StatusCode.OK) == ([], [])

    @pytest.mark.parametrize(
        ("operation", "code", "again"),
        [
            (Operation.INSERT, StatusCode.ALREADY_EXISTS, [Operation.MODIFY]),
            (Operation.MODIFY, StatusCode.NOT_FOUND, [Operation.INSERT]),
            (Operation.DELETE, StatusCode.NOT_FOUND, []),
        ],
    )
    def test_what_desired_state_settles(self, operation: Operation, code: int, again: list[Operation]) -> None:
        assert self.sorted(operation, code) == ([Update(one, self.CONNECTION) for one in again], [])

    @pytest.mark.parametrize("operation", Operation)
    @pytest.mark.parametrize(
        "code", [StatusCode.RESOURCE_EXHAUSTED, StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL, 99]
    )
    def test_what_has_failed(self, operation: Operation, code: int) -> None:
        again, failed = self.sorted(operation, code)
        assert again == []
        assert failed == [WriteFailure(Update(operation, self.CONNECTION), code, "why")]

    def test_a_failure_says_which_code_and_why(self) -> None:
        failure = WriteFailure(Update(Operation.INSERT, ENTRIES["slot"]), StatusCode.RESOURCE_EXHAUSTED, "table full")
        assert str(failure) == (
            "insert schedule_table [vip_id=0x3, slot=0x3ff] -> assign_member(member_id=0x9): "
            "RESOURCE_EXHAUSTED: table full"
        )
        delete = WriteFailure(Update(Operation.DELETE, ENTRIES["slot"]), 99, "")
        assert str(delete) == "delete schedule_table [vip_id=0x3, slot=0x3ff]: 99: no reason given"


class TestArbitration:
    def test_alone(self) -> None:
        arbitration = Arbitration()
        assert arbitration.election_id == FIRST_ELECTION_ID
        assert not arbitration.receive(StatusCode.OK, FIRST_ELECTION_ID)
        assert arbitration.role is Role.PRIMARY

    def test_beside_a_higher_one_until_it_leaves(self) -> None:
        arbitration = Arbitration(5)
        assert not arbitration.receive(StatusCode.ALREADY_EXISTS, 9)
        assert arbitration.role is Role.BACKUP
        assert arbitration.receive(StatusCode.NOT_FOUND, 9), "nobody is primary: bid"
        assert arbitration.election_id == 9, "less than the last primary's is not accepted"
        assert not arbitration.receive(StatusCode.OK, 9)
        assert arbitration.role is Role.PRIMARY

    def test_promoted_by_the_server(self) -> None:
        """BMv2 makes a backup primary by itself."""
        arbitration = Arbitration(5)
        arbitration.receive(StatusCode.ALREADY_EXISTS, 9)
        assert not arbitration.receive(StatusCode.OK, 5)
        assert arbitration.role is Role.PRIMARY

    def test_superseded(self) -> None:
        arbitration = Arbitration(5)
        arbitration.receive(StatusCode.OK, 5)
        assert not arbitration.receive(StatusCode.ALREADY_EXISTS, 6)
        assert (arbitration.role, arbitration.primary_id) == (Role.BACKUP, 6)

    def test_an_id_in_use_is_given_way_to(self) -> None:
        arbitration = Arbitration()
        arbitration.id_in_use()
        assert arbitration.election_id == FIRST_ELECTION_ID - 1

    def test_a_configured_id_stays(self) -> None:
        arbitration = Arbitration(7)
        arbitration.id_in_use()
        assert arbitration.election_id == 7
