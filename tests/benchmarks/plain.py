"""The job that the product is compared with: the same work on plain Celery, without guarantees."""

from __future__ import annotations

import os

from celery import Celery

from tests.benchmarks.job import connect, work

app = Celery("plain", broker=os.environ.get("BENCH_REDIS", "memory://"))
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, task_acks_late=True)
client = connect()


@app.task(name="plain.solve")  # type: ignore[untyped-decorator]  # Celery has no types.
def solve(number: int) -> None:
    """Do the job."""
    work(client, "plain", number)
