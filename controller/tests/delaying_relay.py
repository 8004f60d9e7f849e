"""A TCP relay that lets every byte wait, both ways: `python delaying_relay.py LISTEN PORT TARGET PORT SECONDS`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, each piece after the same time; the end too."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)


async def main() -> None:
    """Until it is killed."""
    address, port, target, target_port, seconds = sys.argv[1:]

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(target, int(target_port))
        except OSError:
            writer.close()
            return
        with suppress(OSError):
            await asyncio.gather(carry(reader, back, float(seconds)), carry(there, writer, float(seconds)))

    server = await asyncio.start_server(called, address, int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
