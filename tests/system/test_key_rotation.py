"""Secret keys are changed while the service runs: nobody's login ends for it.

Three steps, each a rolling restart of workers and backends: the new key last, so that everybody
can open it; then first, so that it seals; then alone, when nothing sealed with the old one is
left. A new key that is put first at once is sealed with by those who have it and cannot be opened
by those who do not, yet.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import KEY_ID_BYTES, make_key
from tests.support.deployment import Deployment, Worker, until
from tests.support.fixtures import NewDeployment

LONG: dict[str, Any] = {"deadline_s": 60.0, "intent_ttl_s": 600.0}
"""For logins that live through several restarts, whose pace is the machine's business."""


def key_id(key: str) -> bytes:
    """Return the mark that a value sealed with a key begins with."""
    raw = base64.urlsafe_b64decode(key)
    return hashlib.sha256(b"id" + raw).digest()[:KEY_ID_BYTES]


def sealed_with(deployment: Deployment, key: str) -> set[str]:
    """Return the names of what rests sealed with a key."""
    names: list[str] = list(deployment.redis.scan_iter(f"{deployment.prefix}:sealed:*"))
    values = {name: deployment.redis.get(name) for name in names}
    return {
        name
        for name, text in values.items()
        if text and base64.b64decode(str(text)).startswith(key_id(key))
    }


def backend(deployment: Deployment, keys: str) -> None:
    """Restart the backend with these keys."""
    deployment.client.close()
    deployment.settings = Settings(**{**deployment.settings.model_dump(), "secret_keys": keys})
    deployment.client = CheckpointClient(deployment.settings)


def roll(deployment: Deployment, old: list[Worker], keys: str) -> list[Worker]:
    """Restart the workers one by one and then the backend; codes keep coming all the while."""
    new = []
    for worker in old:
        persons = [deployment.person().open() for _ in range(3)]
        codes = [person.submit(person.right()) for person in persons[:1]]
        new.append(deployment.worker(secret_keys=keys))
        codes.append(persons[1].submit(persons[1].right()))
        assert worker.terminate() == 0, worker.log[-4000:]
        codes.append(persons[2].submit(persons[2].right()))
        assert [deployment.outcome(name).status for name in codes] == [201] * 3
    backend(deployment, keys)
    return new


def test_a_key_is_changed_under_traffic(new_deployment: NewDeployment) -> None:
    """What was sealed before opens, what is sealed after is sealed anew, and no code is lost."""
    deployment = new_deployment(**LONG)
    old, new = str(deployment._given["secret_keys"]), make_key()
    workers = [deployment.worker(), deployment.worker()]
    early = deployment.person().open()
    assert sealed_with(deployment, old)

    workers = roll(deployment, workers, f"{old},{new}")
    between = deployment.person().open()
    assert not sealed_with(deployment, new), "the first key seals, and that is still the old one"

    workers = roll(deployment, workers, f"{new},{old}")
    late = deployment.person().open()
    assert {name for name in sealed_with(deployment, new) if late.id in name}
    cleared = [deployment.outcome(one.submit(one.right())) for one in (early, between, late)]
    assert [record.status for record in cleared] == [201] * 3
    for one in (early, between, late):
        assert deployment.client.take_session(account_id=one.id, provider=one.provider) is not None
    assert {name for name in sealed_with(deployment, new) if early.id in name}, "its session"


def test_what_only_a_removed_key_opens_is_refused_unsent(new_deployment: NewDeployment) -> None:
    """Dropped too early it costs those logins alone: 400, and the code was not sent."""
    deployment = new_deployment(**LONG)
    old, new = str(deployment._given["secret_keys"]), make_key()
    stranded = deployment.person().open()
    code = stranded.right()
    waiting = stranded.submit(code)  # No worker yet: it waits, sealed with the old key.
    worker = deployment.worker(secret_keys=new)
    record = deployment.outcome(waiting)
    assert (record.status, record.code_sent) == (400, False)
    assert record.body is not None
    assert record.body["type"] == "errors/malformed_request"
    assert "open the intent again" in str(record.body["detail"])
    backend(deployment, new)
    again = deployment.person().open()
    assert deployment.outcome(again.submit(again.right())).status == 201
    assert not sealed_with(deployment, old) & sealed_with(deployment, new)
    until(lambda: "attempt.settled" in worker.log, "the line of the log")
    assert old not in worker.log
    assert stranded.sends(code) == 0
