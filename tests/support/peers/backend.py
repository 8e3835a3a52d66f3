"""The backend that every server runs: imported once, used by the parent, then by its children.

A call is JSON: what to do, and for whom. Its answer says which process gave it. A call with
``stops`` stops its process before the answer, and says so: the next call finds another process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis
from celery import Celery

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient

PROVIDER: Final = "LINKEDIN"
STOPPED: Final = "stopped"
"""The list of processes that stop themselves, beside Celery's queue."""

client, awaited = CheckpointClient(), AsyncCheckpointClient()
# The parent's connections, its name and its generator are in use before there are children.
client.open_intent(
    account_id=f"acc_parent_{os.getpid()}",
    provider=PROVIDER,
    checkpoint={"type": "OTP", "source": "EMAIL"},
    context={
        "fields": {"csrfToken": "made-up"},
        "cookies": [{"name": "JSESSIONID", "value": "made-up"}],
    },
)
assert client.take_session(f"acc_parent_{os.getpid()}", PROVIDER) is None
one_reader, one_loop = threading.Lock(), threading.Lock()
"""A reader of a group is one at a time, and so is a loop with the awaited client."""


def submit(account: str, code: str) -> str:
    """Submit a code."""
    return client.submit(account_id=account, provider=PROVIDER, code=code).id


def submit_awaited(account: str, code: str) -> str:
    """Submit a code with the awaited client."""

    async def play() -> str:
        async with awaited:
            who = {"account_id": account, "provider": PROVIDER}
            return (await awaited.submit(**who, code=code)).id

    with one_loop:
        return asyncio.run(play())


def wait(submission: str) -> int | None:
    """Wait for an outcome; return its status."""
    record = client.wait(submission, 60)
    return record and record.status


def cancel(submission: str) -> int | None:
    """Take a submission back; return its status."""
    record = client.cancel(submission)
    return record and record.status


def take(account: str) -> bool:
    """Take a session; whether there was one for us."""
    return client.take_session(account, PROVIDER) is not None


def read(group: str, most: int) -> list[str]:
    """Read what a group has not finished."""
    with one_reader:
        return [str(record.submission_id) for record in client.outcomes(group=group, limit=most)]


CALLS: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each for each in (submit, submit_awaited, wait, cancel, take, read)
}


def act(call: dict[str, Any]) -> dict[str, Any]:
    """Do what a call asks for."""
    what, stops = CALLS[call.pop("what")], call.pop("stops", False)
    told = what(**call)
    if stops:
        with redis.Redis.from_url(os.environ["PEERS_URL"]) as marks:
            marks.rpush(STOPPED, os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"pid": os.getpid(), "told": told}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one call over HTTP: WSGI, as all these servers speak it."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = json.dumps(act(json.loads(body))).encode()
    length = str(len(answer))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", length)])
    return [answer]


app = Celery("peers", broker=os.environ["PEERS_URL"], backend=os.environ["PEERS_URL"])
app.conf.update(task_default_queue="peers", worker_prefetch_multiplier=1)
app.task(act, name="act")
