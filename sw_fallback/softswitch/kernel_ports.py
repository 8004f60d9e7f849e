"""The ports of a switch whose packets the kernel forwards: which interfaces the XDP program is attached to.

The sockets of `DataPlane` stay open beside it: they send what the python engine makes, and they take over when a
pipeline comes that the XDP engine does not run.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter, defaultdict
from collections.abc import Sequence

from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment, KernelError
from softswitch.engine.xdp.undelivered import Reason
from softswitch.pinned.folder import PinFolder
from softswitch.ports import PacketSocketPort, Port, PortError
from softswitch.ports.interface import InterfaceCounters, KernelCounts, driver, interface_counters

__all__ = ["KernelPorts"]

_LOG = logging.getLogger("softswitch.ports")

_Attached = dict[int, tuple[int, Attachment]]

_ADVICE = {
    Reason.NO_RECEIVER: " by the driver: a veth's peer needs an XDP program or GRO (ethtool -K PEER gro on)",
    Reason.IS_DOWN: ": the interface is down",
    Reason.TOO_LONG: ": they are longer than its MTU (what sends them: ethtool -K IF tso off gso off gro off)",
    Reason.QUEUE_FULL: ": they come faster than they are taken",
    Reason.OTHER: " by the driver",
}


class KernelPorts:
    """Attaches one engine after another to the interfaces of a set of ports."""

    def __init__(self, ports: Sequence[Port], links: PinFolder | None = None) -> None:
        """`links`: where attachments are that outlive this process; None: they end with it."""
        self._interfaces = {port.number: port.name for port in ports if isinstance(port, PacketSocketPort)}
        self._others = [port.number for port in ports if not isinstance(port, PacketSocketPort)]
        self._links = links
        self._attached: dict[int, tuple[int, Attachment]] = {}
        """Interface index and attachment by port number."""
        self._engine: XdpEngine | None = None
        self._complained: set[tuple[int, Reason]] = set()
        """Ports, and why their frames were lost, that the log has had a line about."""
        self._refused: dict[int, tuple[int | None, str]] = {}
        """Why ports are not attached, by number: the interface's index and the reason that the log has."""
        self._advised: set[int] = set()
        self._since: dict[int, tuple[int, InterfaceCounters]] = {}
        """Interface index, and what its counters were when the switch got it, by port number."""
        self._undelivered: defaultdict[int, Counter[Reason]] = defaultdict(Counter)
        """What engines before this one could not deliver, by port number."""

    def activate(self, engine: XdpEngine | None) -> None:
        """Let this engine forward from now on, without a gap after another one; None: leave the interfaces.

        An interface that is not there is attached when it comes, see `look_after`.
        Raises `PortError` when the kernel refuses, and then all is as it was before.
        """
        if engine is None:
            self.close()
            return
        engine.serve(self._others)
        found, made = self._attachments(engine)
        try:
            # what was attached before is switched over together, when nothing can go wrong any more
            for _, attachment in found.values():
                _update(attachment, engine.program)
            self._pin({**found, **made})
        except KernelError as error:
            raise PortError(f"the XDP engine cannot take over: {error}") from error
        self._end()
        self._attached = {**found, **made}
        self._engine = engine
        for number in self._interfaces:
            self._tell(number)
        engine.replaced = self._renew
        if self._links is not None:
            for name in set(self._links.interfaces()) - set(self._interfaces.values()):
                self._links.drop_link(name)

    def _attachments(self, engine: XdpEngine) -> tuple[_Attached, _Attached]:
        """Those that run another program, and new ones. Raises `PortError`, and then there are no new ones."""
        found: _Attached = {}
        made: _Attached = {}
        indexes = {number: _index(name) for number, name in self._interfaces.items()}
        there = {number: index for number, index in indexes.items() if index is not None}
        for connecting in (True, False):  # all are connected before the first packet comes
            for number, index in there.items():
                name = self._interfaces[number]
                try:
                    if connecting:
                        engine.connect(number, index)
                        continue
                    self._remember(number, index)
                    if attachment := self._present(number, name, index):
                        found[number] = index, attachment
                    else:
                        made[number] = index, Attachment.attach(engine.program, index)
                except KernelError as error:
                    if _index(name) != index:  # it went away meanwhile
                        continue
                    for _, attachment in made.values():
                        attachment.close()
                    raise PortError(f"the XDP engine cannot use interface {name!r} (port {number}): {error}") from error
        return found, made

    def _present(self, number: int, name: str, index: int) -> Attachment | None:
        """What is attached to a port's interface, by this process or by one before."""
        attached = self._attached.get(number)
        if attached is not None and attached[0] == index:
            return attached[1]
        pinned = None if self._links is None else self._links.link(name)
        return pinned if pinned is not None and pinned.is_at(index) else None

    def _pin(self, attached: _Attached) -> None:
        if self._links is not None:
            for number, (_, attachment) in attached.items():
                self._links.keep_link(self._interfaces[number], attachment)

    def _renew(self) -> None:
        """Let the engine's present program run at every interface. Raises `KernelError`."""
        if self._engine is not None:
            for _, attachment in self._attached.values():
                _update(attachment, self._engine.program)

    def look_after(self) -> None:
        """Attach again where an interface came back; say what gets lost."""
        engine = self._engine
        if engine is None:
            return
        for number, name in self._interfaces.items():
            index = _index(name)
            attached = self._attached.get(number)
            if attached is not None and attached[0] != index:
                engine.disconnect(number, attached[0])
                attached[1].close()
                del self._attached[number]
            if index is not None and number not in self._attached:
                self._attach(engine, number, index)
        self._complain(engine)

    def _attach(self, engine: XdpEngine, number: int, index: int) -> None:
        self._remember(number, index)
        try:
            engine.connect(number, index)
            self._attached[number] = index, Attachment.attach(engine.program, index)
            self._pin({number: self._attached[number]})
        except KernelError as error:
            if _index(self._interfaces[number]) == index and self._refused.get(number) != (index, str(error)):
                self._refused[number] = index, str(error)
                _LOG.warning("port %d: interface %s is not attached: %s", number, self._interfaces[number], error)
            return
        self._tell(number)

    def _tell(self, number: int) -> None:
        """What people should know of a port after an attempt to attach it, once."""
        name = self._interfaces[number]
        if number not in self._attached:
            if number not in self._refused:
                self._refused[number] = None, "missing"
                _LOG.warning("port %d: there is no interface %s; it is used when it comes", number, name)
            return
        if self._refused.pop(number, None) is not None:
            _LOG.info("port %d: interface %s is attached now", number, name)
        if number not in self._advised and _is_veth(name):
            self._advised.add(number)
            _LOG.info(
                "port %d@%s is one end of a veth, whose other end must leave nothing to hardware, since XDP sees "
                "frames as they are in memory: ethtool -K PEER tx off txvlan off",
                number,
                name,
            )

    def _remember(self, number: int, index: int) -> None:
        """Keep the counters of an interface that the switch did not have yet."""
        since = self._since.get(number)
        if since is None or since[0] != index:
            now = interface_counters().get(self._interfaces[number])
            if now is not None:
                self._since[number] = index, now

    def counts(self) -> KernelCounts:
        """What the kernel did at the ports."""
        now = interface_counters()
        lost = Counter({number: each.total() for number, each in self._undelivered.items()})
        if self._engine is not None:
            lost.update({port: sum(each.values()) for port, each in self._engine.undelivered_by_port().items()})
        passed = {}
        for number in self._attached:
            counters, (_, since) = now.get(self._interfaces[number]), self._since.get(number, (0, _ZERO))
            if counters is not None:
                passed[number] = counters.received - since.received, counters.sent - since.sent
        return KernelCounts(passed, lost)

    def _end(self) -> None:
        """The engine forwards no longer."""
        if self._engine is not None:
            for number, reasons in self._engine.undelivered_by_port().items():
                self._undelivered[number].update(reasons)
        self._engine = None

    def _complain(self, engine: XdpEngine) -> None:
        """Say once for each port why its frames are lost."""
        for number, reasons in engine.undelivered_by_port().items():
            for reason in reasons:
                if number in self._interfaces and (number, reason) not in self._complained:
                    self._complained.add((number, reason))
                    _LOG.warning(
                        "frames sent to %d@%s are dropped%s", number, self._interfaces[number], _ADVICE[reason]
                    )

    def close(self) -> None:
        """Leave every interface."""
        for number, (_, attachment) in self._attached.items():
            attachment.close()
            if self._links is not None:
                self._links.drop_link(self._interfaces[number])
        self._attached.clear()
        self._end()

    def release(self) -> None:
        """Leave the interfaces to the next process."""
        for _, attachment in self._attached.values():
            attachment.close()
        self._attached.clear()
        self._end()


_ZERO = InterfaceCounters(0, 0, 0, 0)


def _update(attachment: Attachment, program: int) -> None:
    """Let another program run there, unless the interface is gone. Raises `KernelError`."""
    try:
        attachment.update(program)
    except KernelError:
        if attachment.ifindex:
            raise


def _is_veth(name: str) -> bool:
    try:
        return driver(name) == "veth"
    except OSError:
        return False


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None
