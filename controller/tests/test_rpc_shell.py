"""Calls under way when their connection is closed: they are lost, who waits for them is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from controller.tests.closed_loop import CONFIG
from controller.tests.running import until
from controller.tests.scripted_switch import ScriptedSwitch, scripted_switch
from finsy.proto import p4r

from depot.config import parse
from depot.daemon.daemon import Daemon
from depot.p4runtime.rpc_shell import ConnectionLostError, RpcConnection
from depot.p4runtime.switch_shell import Pipeline
from depot.program import find_compiled_program

pytestmark = pytest.mark.server


async def read(connection: RpcConnection) -> object:
    return [entity async for entity in connection.read([p4r.Entity(table_entry=p4r.TableEntry(table_id=1))])]


CALLS: dict[str, Callable[[RpcConnection], Awaitable[object]]] = {
    "read": read,
    "write": lambda connection: connection.write(p4r.WriteRequest(updates=[p4r.Update(type=p4r.Update.INSERT)])),
    "get pipeline": lambda connection: connection.get_pipeline(cookie_only=True),
    "set pipeline": lambda connection: connection.set_pipeline(p4r.ForwardingPipelineConfig()),
    "version": lambda connection: connection.api_version(),
}


class MuteSwitch(ScriptedSwitch):
    """It takes calls and answers none."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def _wait(self) -> None:
        self.asked += 1
        await asyncio.Event().wait()

    async def Write(self, request: object, context: object) -> p4r.WriteResponse:  # noqa: N802
        await self._wait()
        return p4r.WriteResponse()

    async def Read(self, request: object, context: object) -> AsyncIterator[p4r.ReadResponse]:  # noqa: N802
        await self._wait()
        yield p4r.ReadResponse()

    async def GetForwardingPipelineConfig(  # noqa: N802
        self, request: object, context: object
    ) -> p4r.GetForwardingPipelineConfigResponse:
        await self._wait()
        return p4r.GetForwardingPipelineConfigResponse()

    async def SetForwardingPipelineConfig(  # noqa: N802
        self, request: object, context: object
    ) -> p4r.SetForwardingPipelineConfigResponse:
        await self._wait()
        return p4r.SetForwardingPipelineConfigResponse()

    async def Capabilities(self, request: object, context: object) -> p4r.CapabilitiesResponse:  # noqa: N802
        await self._wait()
        return p4r.CapabilitiesResponse()


@pytest.fixture
async def mute() -> AsyncIterator[MuteSwitch]:
    async with scripted_switch(MuteSwitch()) as switch:
        assert isinstance(switch, MuteSwitch)
        yield switch


@pytest.mark.parametrize("kind", CALLS)
async def test_closing_the_connection_loses_the_call(mute: MuteSwitch, kind: str) -> None:
    """grpc says CancelledError then, though nobody cancelled the task that waits."""
    async with RpcConnection(mute.address, 1) as connection:
        call = asyncio.ensure_future(CALLS[kind](connection))
        await until(lambda: mute.asked, "the switch has the call")
    with pytest.raises(ConnectionLostError):
        await call


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_on_a_closed_connection(mute: MuteSwitch, kind: str) -> None:
    async with RpcConnection(mute.address, 1) as connection:
        pass
    with pytest.raises(ConnectionLostError):
        await CALLS[kind](connection)


@pytest.mark.parametrize("kind", CALLS)
async def test_a_task_that_is_cancelled_is_cancelled(mute: MuteSwitch, kind: str) -> None:
    async with RpcConnection(mute.address, 1) as connection:
        call = asyncio.ensure_future(CALLS[kind](connection))
        await until(lambda: mute.asked, "the switch has the call")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


class HesitantSwitch(ScriptedSwitch):
    """It does all that is asked, but one read of its counters it never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.counts = 0

    async def Read(  # noqa: N802
        self, request: p4r.ReadRequest, context: object
    ) -> AsyncIterator[p4r.ReadResponse]:
        if any(entity.table_entry.HasField("counter_data") for entity in request.entities):
            self.counts += 1
            if self.counts == 3:
                self.hangs = True
                await asyncio.Event().wait()
        yield p4r.ReadResponse()


async def test_counters_are_read_again_after_a_switch_that_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depot.daemon.daemon.COUNT_INTERVAL", 0.01)
    async with scripted_switch(HesitantSwitch()) as switch:
        assert isinstance(switch, HesitantSwitch)
        text = f'[depot]\nsocket = "{tmp_path}/socket"\n' + CONFIG.replace("127.0.0.1:1", switch.address)
        daemon = Daemon(parse(text), tmp_path / "depot.toml", Pipeline(find_compiled_program()))
        await daemon.start()
        try:
            await until(lambda: switch.hangs, "a read hangs")
            switch.streams[-1].put_nowait(None)
            await until(lambda: switch.counts > 6, "counters are read again")
        finally:
            await daemon.stop()
