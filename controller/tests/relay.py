"""A TCP relay that can be cut: `python relay.py LISTEN_PORT PORT`, both on 127.0.0.1.

Standard input says `cut` (break every connection and refuse new ones) or `mend`; each is answered with the word.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence


class Relay:
    """Relays while it is whole."""

    def __init__(self, listen_port: int, port: int) -> None:
        self.listen_port, self.port = listen_port, port
        self.writers: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None

    async def mend(self) -> None:
        """Listen."""
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.listen_port)

    async def cut(self) -> None:
        """Break all connections and listen no more."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, far_writer}
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))
        self.writers -= {writer, far_writer}

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes of one direction."""
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def run(listen_port: int, port: int) -> None:
    """Relay until standard input ends."""
    relay = Relay(listen_port, port)
    await relay.mend()
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    while word := (await words.readline()).decode().strip():
        await (relay.cut() if word == "cut" else relay.mend())
        print(word, flush=True)


def main(arguments: Sequence[str]) -> None:
    """Run with the two ports of the command line."""
    if len(arguments) != 2:
        raise SystemExit("usage: relay.py LISTEN_PORT PORT")
    asyncio.run(run(int(arguments[0]), int(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
