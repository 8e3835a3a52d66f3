"""The job as blocking code, for the queues that run it on threads or greenlets."""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Final

import redis

POOL_MAX: Final = 2_000
"""Connections; the library's own limit of 100 would fail under a thousand greenlets."""


def connect() -> redis.Redis:
    """Return the client that stores the outcomes."""
    url = os.environ.get("BENCH_REDIS", "redis://127.0.0.1")
    client: redis.Redis = redis.Redis.from_url(url, max_connections=POOL_MAX)
    return client


def work(client: redis.Redis, name: str, number: int) -> None:
    """POST the code, SET and PUBLISH the outcome under a name."""
    request = urllib.request.Request(  # noqa: S310  the bench's own loopback server
        f"{os.environ['BENCH_URL']}/verify",
        data=json.dumps({"code": str(number)}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
        outcome = json.dumps({"status": 201, "number": number, "user": reply.read().decode()})
    pipe = client.pipeline(transaction=False)
    pipe.set(f"{name}:{number}", outcome, ex=600)
    pipe.publish(f"{name}:results", outcome)
    pipe.incr(f"{name}:done")
    pipe.execute()
