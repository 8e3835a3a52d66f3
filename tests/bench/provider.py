"""A provider that answers after a while; prints its port on stdout."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from aiohttp import web

DELAY_S = float(os.environ.get("BENCH_DELAY_S", "0.02"))
users = itertools.count(1)


async def verify(request: web.Request) -> web.Response:
    """Take the code, wait, answer with a new user's number."""
    await request.read()
    await asyncio.sleep(DELAY_S)
    return web.Response(text=str(next(users)))


async def main() -> None:
    """Serve until stdin closes."""
    app = web.Application()
    app.router.add_post("/verify", verify)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
