"""The job on taskiq with Redis streams. As a program: enqueue as many as a line of stdin says."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import aiohttp
import redis.asyncio
from taskiq import TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

AT_ONCE = 1_000
URL = os.environ["BENCH_REDIS"]
STREAM = os.environ.get("BENCH_STREAM", "taskiq")
broker = RedisStreamBroker(url=URL, queue_name=STREAM, consumer_id="0", max_connection_pool_size=32)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def begin(state: TaskiqState) -> None:
    """Connect once for all jobs."""
    state.redis = redis.asyncio.Redis.from_url(URL)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    state.http = aiohttp.ClientSession(os.environ["BENCH_URL"], connector=connector)


@broker.task(task_name="solve")
async def solve(number: int) -> None:
    """POST the code, SET and PUBLISH the outcome."""
    async with broker.state.http.post("/verify", json={"code": str(number)}) as reply:
        user = await reply.text()
    outcome = json.dumps({"status": 201, "number": number, "user": user})
    pipe = broker.state.redis.pipeline(transaction=False)
    pipe.set(f"peer:{number}", outcome, ex=600)
    pipe.publish("peer:results", outcome)
    pipe.incr("peer:done")
    await pipe.execute()


async def main() -> None:
    """Enqueue until stdin closes."""
    await broker.startup()
    print("ready", flush=True)  # noqa: T201
    while line := await asyncio.to_thread(sys.stdin.readline):
        for number in range(int(line)):
            await solve.kiq(number)
        print("enqueued", flush=True)  # noqa: T201
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
