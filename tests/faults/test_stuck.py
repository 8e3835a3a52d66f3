"""Rows of the ledger that no look can change: they delay nobody else's outcome."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

import pytest

from checkpoint_worker.tasks.client import make_vault
from checkpoint_worker.tasks.events import Cancel, Claim
from checkpoint_worker.tasks.operations.acceptance import Acceptance
from checkpoint_worker.tasks.operations.validation import read_request
from checkpoint_worker.tasks.storage.keys import Keys
from tests.support.deployment import LINKEDIN, Deployment, until
from tests.support.fixtures import NewDeployment

log = logging.getLogger(__name__)

UNREADABLE: Final = 10_000
DRAINING: Final = 600
WAITING: Final = 5_000
HELD: Final = 1_000
"""Of those that cannot be read."""
DEAD: Final = "dead"
FAR_MS: Final = 600_000
PROMISED_S: Final = 5.0
"""An outcome comes by the deadline and so much."""

pytestmark = pytest.mark.fault


def litter(deployment: Deployment, *, waiting: int = 0) -> None:
    """Lay out, before everybody else's rows, what no look of a sweep can change.

    Exchanges that a dead worker was asked to close, each on its wire until its own end far from
    now, and intents of another schema, as a rollback leaves them: due, waiting, and some of them
    held by the dead worker.
    """
    keys, client = Keys(deployment.prefix), deployment.redis
    draining = json.dumps(_draining(deployment))
    seconds: Any = client.time()
    woken_ms = seconds[0] * 1000 - 2_000  # Long enough ago to be woken again, and no longer.
    unreadable = [keys.member(LINKEDIN, f"newer-{number}") for number in range(UNREADABLE)]
    with client.pipeline(transaction=False) as pipe:
        for number in range(DRAINING):
            pipe.set(keys.intent(LINKEDIN, f"drained-{number}"), draining)
            pipe.zadd(keys.due, {keys.member(LINKEDIN, f"drained-{number}"): 1})
        for member in unreadable:
            pipe.set(f"{deployment.prefix}:intent:{member}", '{"v": 2, "tokens": []}')
        pipe.zadd(keys.due, dict.fromkeys(unreadable, 2))
        if waiting:
            pipe.zadd(keys.queued, dict.fromkeys(unreadable[:waiting], woken_ms))
        pipe.sadd(keys.holds(DEAD), *unreadable[:HELD])
        pipe.zadd(keys.beats, {DEAD: 1})
        pipe.execute()


def _draining(deployment: Deployment) -> dict[str, Any]:
    """Return an intent whose exchange is to be closed by a worker that hears nothing."""
    person = deployment.person().open()
    store, run = deployment.client._core.store, deployment.client._executor.run
    submission = person.submit("123456")
    deployment.redis.delete(deployment.prefix)  # Its wake.

    def claim(seen: Any) -> Claim:
        return Claim(submission_id=submission, claim="c", worker=DEAD, run_id=seen.run_id)

    run(store.transact(person.provider, person.id, claim))
    cancel = Cancel(submission_id=submission)
    run(store.transact(person.provider, person.id, lambda _: cancel))
    stored: Any = deployment.redis.get(store.keys.intent(person.provider, person.id))
    intent: dict[str, Any] = json.loads(stored)
    assert intent["wire"]["phase"] == "draining"
    intent["wire"]["until_ms"] += FAR_MS
    deployment.persons.clear()
    return intent


def _submit_without_wake(deployment: Deployment, submission_id: str) -> str:
    """Submit a right code whose message is lost; return its id."""
    person, settings = deployment.person().open(), deployment.settings
    code = person.right()
    request = read_request(settings, person.id, person.provider, code)
    steps = Acceptance(
        deployment.client._core.store,
        make_vault(settings),
        request,
        submission_id,
    ).steps()
    deployment.client._executor.run(steps)
    person.typed.append((submission_id, code))
    return submission_id


def test_what_cannot_be_changed_delays_nobody_s_outcome(new_deployment: NewDeployment) -> None:
    """A batch of the sweep is five hundred: these lie before everybody else's, and stay there.

    The wake of a code is lost, and no other is sent: the sweep alone can answer it.
    """
    deployment = new_deployment(wake_again_s=60.0)
    litter(deployment)
    worker = deployment.worker()
    until(lambda: deployment.redis.zscore(f"{deployment.prefix}:beats", DEAD) is None, "the burial")
    late = []
    for number in range(2):
        submission = _submit_without_wake(deployment, f"sub_{number}")
        # Who waits for an outcome settles what is overdue: here nobody asks before it is there.
        until(lambda: deployment.publications.of(submission), "the sweep")  # noqa: B023
        record = deployment.outcome(submission)
        assert (record.status, record.code_sent) == (504, False)
        assert record.finished_at is not None
        assert record.queued_at is not None
        took_s = (record.finished_at - record.queued_at).total_seconds()
        late.append(took_s - deployment.settings.deadline_s)
    log.info("504 so long after the deadline: %s s", [round(each, 3) for each in late])
    assert max(late) < PROMISED_S
    assert worker.log.count('"sweep.failed"') < 200


def test_what_cannot_be_read_keeps_no_lost_wake_from_being_sent_again(
    new_deployment: NewDeployment,
) -> None:
    """Thousands of them wait as well, and were woken before: the code is sent in time."""
    deployment = new_deployment()
    litter(deployment, waiting=WAITING)
    worker = deployment.worker()
    record = deployment.outcome(_submit_without_wake(deployment, "sub_1"))
    assert (record.status, record.code_sent) == (201, True), worker.log[-2000:]
