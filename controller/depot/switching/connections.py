"""The session tracker's commands as updates of `connection_table`, and its entries as the tracker knows them. Pure."""

from __future__ import annotations

from depot.p4runtime.entry import Action, Entry, Table, connection_flow
from depot.p4runtime.reconcile import Operation, Update
from depot.switching.commands import EntryCommand, InstallEntry, RemoveEntry, UpdateEntry, Verdict

__all__ = ["command_update", "install_entry"]

_ACTIONS = {
    Verdict.FORWARD: Action.FORWARD_TO_MEMBER,
    Verdict.RESET: Action.RESET_CONNECTION,
    Verdict.DENY: Action.DENY_CONNECTION,
    Verdict.BYPASS: Action.BYPASS_CONNECTION,
}
_VERDICTS = {action: verdict for verdict, action in _ACTIONS.items()}
_NANOSECONDS = 1_000_000_000


def command_update(command: EntryCommand) -> Update:
    """Return what a command writes."""
    addr_lo, port_lo, addr_hi, port_hi, protocol = command.key
    values = (addr_lo, addr_hi, port_lo, port_hi, protocol)
    if isinstance(command, RemoveEntry):
        return Update(Operation.DELETE, Entry(Table.CONNECTION, values, Action.FORWARD_TO_MEMBER))
    forward = command.verdict is Verdict.FORWARD
    params = (command.member_id, int(command.client_is_hi), int(command.closing)) if forward else ()
    timeout = round(command.idle_timeout * _NANOSECONDS)
    operation = Operation.MODIFY if isinstance(command, UpdateEntry) else Operation.INSERT
    return Update(operation, Entry(Table.CONNECTION, values, _ACTIONS[command.verdict], params, timeout))


def install_entry(entry: Entry) -> InstallEntry:
    """Return an entry that was read as the tracker's."""
    member_id, client_is_hi, closing = entry.params or (0, 0, 0)
    return InstallEntry(
        connection_flow(entry.values),
        _VERDICTS.get(entry.action, Verdict.DENY),
        member_id,
        client_is_hi == 1,
        closing == 1,
        entry.idle_timeout_ns / _NANOSECONDS,
    )
