"""What the product is measured against: the same job on plain Celery, no promises kept."""

from __future__ import annotations

import json
import os
import urllib.request

import redis
from celery import Celery

POOL_MAX = 2_000
"""Connections; the library's own limit of 100 would fail under a thousand greenlets."""

app = Celery("plain", broker=os.environ.get("BENCH_REDIS", "memory://"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, task_acks_late=True)
client = redis.Redis.from_url(
    os.environ.get("BENCH_REDIS", "redis://127.0.0.1"), max_connections=POOL_MAX
)


@app.task(name="plain.solve")  # type: ignore[untyped-decorator]  # Celery has no types.
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
    pipe.set(f"plain:{number}", outcome, ex=600)
    pipe.publish("plain:results", outcome)
    pipe.incr("plain:done")
    pipe.execute()
