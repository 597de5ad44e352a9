"""A worker without a model: says hello to every gateway that connects, and nothing more.

    python -m benchmarks.idle_worker SOCKET

It stands for the workers of endpoints that are in a route table and not asked.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from tallystick.lifeline import die_with_parent
from tallystick.protocol.board import PER_LINE
from tallystick.protocol.frame import Hello, Kind, render_frame


async def serve(path: str) -> None:
    hello = render_frame(0, Kind.HELLO, msgspec.msgpack.encode(Hello(os.getpid(), PER_LINE, True)))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        while await reader.read(1 << 16):
            pass
        writer.close()

    server = await asyncio.start_unix_server(greet, path, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(serve(sys.argv[1]))
