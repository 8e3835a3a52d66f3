"""The limit: one asyncio loop, a POST per job, SET and PUBLISH in batches; no queue, no ledger.

Reads how many jobs to do from stdin, one number a line; counts them in ``bare:done``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import aiohttp
import redis.asyncio

AT_ONCE = 1_000


class Batch:
    """Outcomes of one turn of the loop, written in one pipeline."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: list[tuple[int, str]] = []
        self._writing: asyncio.Task[None] | None = None

    def add(self, number: int, outcome: str) -> None:
        """Write an outcome with the others of this turn."""
        self._waiting.append((number, outcome))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            pipe = self._client.pipeline(transaction=False)
            for number, outcome in batch:
                pipe.set(f"bare:{number}", outcome, ex=600)
                pipe.publish("bare:results", outcome)
            pipe.incrby("bare:done", len(batch))
            await pipe.execute()


async def work(session: aiohttp.ClientSession, batch: Batch, numbers: list[int]) -> None:
    """Do jobs one after the other until none is left."""
    while numbers:
        number = numbers.pop()
        async with session.post("/verify", json={"code": str(number)}) as reply:
            user = await reply.text()
        batch.add(number, json.dumps({"status": 201, "number": number, "user": user}))


async def main() -> None:
    """Do what stdin asks for until it closes."""
    client = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS"])
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(os.environ["BENCH_URL"], connector=connector) as session:
        batch = Batch(client)
        print("ready", flush=True)  # noqa: T201
        while line := await asyncio.to_thread(sys.stdin.readline):
            numbers = list(range(int(line)))
            await asyncio.gather(*(work(session, batch, numbers) for _ in range(AT_ONCE)))
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main())
