"""The job on dramatiq. As a program: enqueue as many as a line of stdin says.

Its worker runs on gevent, so that what waits here lets others run.
"""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.benchmarks.job import connect, work

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))
client = connect()


@dramatiq.actor(max_retries=0)
def solve(number: int) -> None:
    """Do the job."""
    work(client, "peer", number)


if __name__ == "__main__":
    # The module of this name is the one that the worker imports, and names the task.
    from tests.benchmarks.peers.dramatiq_job import solve as task

    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        for each in range(int(line)):
            task.send(each)
        print("enqueued", flush=True)  # noqa: T201
