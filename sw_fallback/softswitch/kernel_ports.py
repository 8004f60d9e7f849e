"""The ports of a switch whose packets the kernel forwards: which interfaces the XDP program is attached to.

The sockets of `DataPlane` stay open beside it: they send what the python engine makes, and they take over when a
pipeline comes that the XDP engine does not run.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

from softswitch.engine.xdp.engine import XdpEngine
from softswitch.engine.xdp.kernel import Attachment, KernelError
from softswitch.ports import PacketSocketPort, Port, PortError

__all__ = ["KernelPorts"]

_LOG = logging.getLogger("softswitch.ports")


class KernelPorts:
    """Attaches one engine after another to the interfaces of a set of ports."""

    def __init__(self, ports: Sequence[Port]) -> None:
        self._interfaces = {port.number: port.name for port in ports if isinstance(port, PacketSocketPort)}
        self._others = [port.number for port in ports if not isinstance(port, PacketSocketPort)]
        self._attached: dict[int, tuple[int, Attachment]] = {}
        """Interface index and attachment by port number."""
        self._engine: XdpEngine | None = None

    def activate(self, engine: XdpEngine | None) -> None:
        """Let this engine forward from now on, without a gap after another one; None: leave the interfaces.

        Raises `PortError` when the kernel refuses, and then no interface is attached.
        """
        self._engine = engine
        if engine is None:
            self.close()
            return
        engine.replaced = self._renew
        engine.serve(self._others)
        try:
            for number, name in self._interfaces.items():
                self._attach(engine, number, name)
        except (KernelError, OSError) as error:
            self.close()
            raise PortError(f"the XDP engine cannot use interface {name!r} (port {number}): {error}") from error

    def _renew(self) -> None:
        """Let the engine's present program run at every interface. Raises `KernelError`."""
        if self._engine is not None:
            for _, attachment in self._attached.values():
                attachment.update(self._engine.program)

    def look_after(self) -> None:
        """Attach again where an interface came back."""
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
                try:
                    self._attach(engine, number, name)
                except KernelError as error:
                    _LOG.warning("port %d: interface %s is not attached: %s", number, name, error)

    def close(self) -> None:
        """Leave every interface."""
        for _, attachment in self._attached.values():
            attachment.close()
        self._attached.clear()
        self._engine = None

    def _attach(self, engine: XdpEngine, number: int, name: str) -> None:
        index = socket.if_nametoindex(name)
        engine.connect(number, index)
        attached = self._attached.get(number)
        if attached is not None and attached[0] == index:
            attached[1].update(engine.program)
        else:
            self._attached[number] = (index, Attachment.attach(engine.program, index))


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None
