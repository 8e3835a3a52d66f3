"""What the sweep does among ten thousand that wait, and how soon it finds who is gone."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any, Final

import pytest
import redis.asyncio

from checkpoint_worker.providers.contract import Checkpoint
from checkpoint_worker.tasks.client import make_store, make_vault
from checkpoint_worker.tasks.events import Open
from checkpoint_worker.tasks.execution.attempt import AttemptRunner, http_exchange
from checkpoint_worker.tasks.execution.sweeper import BATCH, Heartbeat, Sweeper
from checkpoint_worker.tasks.model import Purpose
from checkpoint_worker.tasks.operations.acceptance import Acceptance, open_steps
from checkpoint_worker.tasks.operations.validation import Sealed, read_request
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import AsyncExecutor, connect_async
from tests.support.deployment import BOUND_S, PATIENT, Deployment, Worker, until
from tests.support.fixtures import NewDeployment
from tests.support.ledger_fixture import settings_for

log = logging.getLogger(__name__)

WAITING: Final = 10_000
LOST: Final = 300
AT_ONCE: Final = 32
LONG_S: Final = 300.0
"""Far beyond what filling takes: nothing is due, nothing is refused for its age."""
FOUND_S, LEADER_S = 2.0, 3.0
"""A lost worker is found so long after ``lost_after_s``; if it led, so much later."""
GRACE_S: Final = 1.5
"""Slack for a busy machine."""

pytestmark = pytest.mark.fault


# A backlog -----------------------------------------------------------------------------


class Backlog:
    """Ten thousand submissions that wait, their messages, and a sweeper beside them."""

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self.settings, self.client = settings, client
        self.woken: Counter[str] = Counter()
        self.delivers = True
        """Whether what is sent arrives in the queue."""
        self.attempts = AttemptRunner(
            settings=settings,
            store=make_store(settings),
            vault=make_vault(settings),
            executor=AsyncExecutor(client),
            worker="w1",
            send_wake=self._wake,
            make_exchange=http_exchange(settings),
        )
        self.sweeper = Sweeper(self.attempts, Heartbeat(self.attempts), self.length)

    async def _wake(self, submission_id: str, _account: str, _provider: str) -> None:
        self.woken[submission_id] += 1
        if self.delivers:
            await self.client.lpush(self.settings.prefix, submission_id)

    async def length(self) -> int:
        """Return how many messages wait."""
        return int(await self.client.llen(self.settings.prefix))

    async def fill(self) -> None:
        """Submit and send, each as a backend does."""
        places = asyncio.Semaphore(AT_ONCE)

        async def submit(number: int) -> None:
            async with places:
                await self._submit(f"acc_{number}", f"sub_{number}")

        await asyncio.gather(*(submit(number) for number in range(WAITING)))
        await self.client.lpush(self.settings.prefix, *(f"sub_{n}" for n in range(WAITING)))

    async def _submit(self, account_id: str, submission_id: str) -> None:
        store, vault, run = self.attempts.store, self.attempts.vault, self.attempts.executor.run
        await run(
            open_steps(
                store,
                vault,
                Open(
                    account_id=account_id,
                    provider="LINKEDIN",
                    checkpoint=Checkpoint(type="OTP", source="EMAIL"),
                    purpose=Purpose.CONNECT,
                ),
                Sealed(context={}),
            )
        )
        request = read_request(self.settings, account_id, "LINKEDIN", "123456")
        await run(Acceptance(store, vault, request, submission_id).steps())

    async def turn_stale(self) -> None:
        """Let everything have waited for longer than ``wake_again_s``."""
        queued: Any = await self.client.zrange(f"{self.settings.prefix}:queued", 0, -1)
        await self.client.zadd(f"{self.settings.prefix}:queued", dict.fromkeys(queued, 1))


async def test_a_backlog_of_ten_thousand_is_not_woken_again(redis_url: str) -> None:
    """As many wakes as messages are missing, each submission's once: no storm, whatever is lost.

    A wake for each that waits, every three seconds, would be the end of a broker that is behind.
    """
    settings = settings_for(
        redis_url,
        deadline_s=LONG_S,
        intent_ttl_s=2 * LONG_S,
        wake_again_s=LONG_S / 5,
        queue_max=2 * WAITING,
        queue_age_max_s=LONG_S / 2,
    )
    client = connect_async(redis_url)
    backlog = Backlog(settings, client)
    try:
        await backlog.fill()
        await _judge(backlog, client)
    finally:
        await client.aclose()


async def _judge(backlog: Backlog, client: redis.asyncio.Redis) -> None:
    queue, once, woken = backlog.settings.prefix, backlog.sweeper.once, backlog.woken
    await backlog.turn_stale()
    for _ in range(5):
        await once()
    assert not woken, "every message is there"

    await client.ltrim(queue, LOST, -1)
    for _ in range(5):
        await once()
    assert woken.total() == len(woken) == LOST, "what is missing and nothing else"
    assert await backlog.length() == WAITING

    await client.delete(queue)
    await backlog.turn_stale()
    backlog.delivers = False
    woken.clear()
    sweeps = 0
    while woken.total() < WAITING:
        before = woken.total()
        await once()
        sweeps += 1
        assert before < woken.total() <= before + BATCH
    for _ in range(5):
        await once()
    assert woken.total() == len(woken) == WAITING, "each once, until it has waited again"
    log.info("%d wakes in %d sweeps", woken.total(), sweeps)


async def test_what_the_indexes_say_of_the_dead_is_cleaned(redis_url: str) -> None:
    """Intents whose keys are gone, by eviction or by hand, do not keep the sweep busy for ever."""
    settings = settings_for(redis_url)
    client = connect_async(redis_url)
    backlog = Backlog(settings, client)
    try:
        keys = backlog.attempts.store.keys
        gone = {keys.member("LINKEDIN", f"acc_{number}"): 1 for number in range(2 * BATCH)}
        await client.zadd(keys.due, gone)
        await client.zadd(keys.queued, gone)
        for _ in range(3):
            await backlog.sweeper.once()
        assert await client.zcard(keys.due) == await client.zcard(keys.queued) == 0
        assert not backlog.woken
    finally:
        await client.aclose()


# Lost workers --------------------------------------------------------------------------

USUAL: Final = PATIENT | {
    "provider_timeout_s": 40.0,
    "heartbeat_s": 1.0,
    "lost_after_s": 5.0,
    "sweep_s": 1.0,
    "leader_s": 3.0,
}
"""The times of production, as far as a loss goes."""


def leader(deployment: Deployment) -> str:
    """Return the name of the worker that sweeps."""
    return str(until(lambda: deployment.redis.get(f"{deployment.prefix}:leader"), "a leader"))


def has_beaten(deployment: Deployment, worker: Worker, times: int) -> None:
    """Wait for some more heartbeats."""
    seen: set[float] = set()

    def beaten() -> bool:
        name = worker.name
        score: Any = deployment.redis.zscore(f"{deployment.prefix}:beats", name) if name else None
        seen.update([score] if score else [])
        return len(seen) > times

    until(beaten, "heartbeats")


@pytest.mark.parametrize("led", [False, True], ids=["another", "the leader"])
def test_a_lost_worker_is_found_in_time(new_deployment: NewDeployment, led: bool) -> None:
    """Killed with a code on the way: its submission is answered 504, maybe used, soon enough."""
    deployment = new_deployment(**USUAL)
    first = deployment.worker()
    assert f":{first.pid}:" in leader(deployment)
    second = deployment.worker()
    victim, survivor = (first, second) if led else (second, first)
    has_beaten(deployment, survivor, 2)
    while True:
        person = deployment.person().open().faults(hang=True)
        submission = person.submit(person.right())
        person.received()
        if deployment.holder(person) is victim:
            break
    seconds, micros = deployment.redis.time()
    victim.kill()
    record = deployment.outcome(submission)
    assert (record.status, record.code_sent) == (504, True)
    assert record.finished_at is not None
    took_s = record.finished_at.timestamp() - (seconds + micros / 1e6)
    log.info("found after %.2f s", took_s)
    bound_s = deployment.settings.lost_after_s + FOUND_S + (LEADER_S if led else 0.0)
    assert took_s < bound_s + GRACE_S
    assert f":{survivor.pid}:" in leader(deployment)


def test_a_leader_that_ends_lets_the_next_one_lead_at_once(new_deployment: NewDeployment) -> None:
    """A rolling update is not a loss: nobody waits for the lock to run out."""
    deployment = new_deployment(**USUAL | {"leader_s": BOUND_S})
    first = deployment.worker()
    assert f":{first.pid}:" in leader(deployment)
    assert first.terminate() == 0
    assert not deployment.redis.exists(f"{deployment.prefix}:leader")
