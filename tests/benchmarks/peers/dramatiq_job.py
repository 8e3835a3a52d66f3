"""The job on dramatiq. As a program: enqueue as many as a line of stdin says.

Its worker runs on gevent, so that what waits here lets others run.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

from tests.benchmarks.plain import POOL_MAX

URL = os.environ["BENCH_REDIS"]
dramatiq.set_broker(RedisBroker(url=URL))
client = redis.Redis.from_url(URL, max_connections=POOL_MAX)


@dramatiq.actor(max_retries=0)
def solve(number: int) -> None:
    """POST the code, SET and PUBLISH the outcome."""
    request = urllib.request.Request(  # noqa: S310  the bench's own loopback server
        f"{os.environ['BENCH_URL']}/verify",
        data=json.dumps({"code": str(number)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
        outcome = json.dumps({"status": 201, "number": number, "user": reply.read().decode()})
    pipe = client.pipeline(transaction=False)
    pipe.set(f"peer:{number}", outcome, ex=600)
    pipe.publish("peer:results", outcome)
    pipe.incr("peer:done")
    pipe.execute()


if __name__ == "__main__":
    # The module of this name is the one that the worker imports, and names the task.
    from tests.benchmarks.peers.dramatiq_job import solve as task

    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        for each in range(int(line)):
            task.send(each)
        print("enqueued", flush=True)  # noqa: T201
