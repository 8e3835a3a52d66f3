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
from tests.behaviour.conftest import Setting
from tests.behaviour.stage import Stage, Worker, until

LONG: dict[str, Any] = {"deadline_s": 60.0, "intent_ttl_s": 600.0}
"""For logins that live through several restarts, whose pace is the machine's business."""


def key_id(key: str) -> bytes:
    """Return the mark that a value sealed with a key begins with."""
    raw = base64.urlsafe_b64decode(key)
    return hashlib.sha256(b"id" + raw).digest()[:KEY_ID_BYTES]


def sealed_with(stage: Stage, key: str) -> set[str]:
    """Return the names of what rests sealed with a key."""
    names: list[str] = list(stage.redis.scan_iter(f"{stage.prefix}:sealed:*"))
    values = {name: stage.redis.get(name) for name in names}
    return {
        name
        for name, text in values.items()
        if text and base64.b64decode(str(text)).startswith(key_id(key))
    }


def backend(stage: Stage, keys: str) -> None:
    """Restart the backend with these keys."""
    stage.client.close()
    stage.settings = Settings(**{**stage.settings.model_dump(), "secret_keys": keys})
    stage.client = CheckpointClient(stage.settings)


def roll(stage: Stage, old: list[Worker], keys: str) -> list[Worker]:
    """Restart the workers one by one and then the backend; codes keep coming all the while."""
    new = []
    for worker in old:
        persons = [stage.person().open() for _ in range(3)]
        codes = [person.submit(person.right()) for person in persons[:1]]
        new.append(stage.worker(secret_keys=keys))
        codes.append(persons[1].submit(persons[1].right()))
        assert worker.terminate() == 0, worker.log[-4000:]
        codes.append(persons[2].submit(persons[2].right()))
        assert [stage.outcome(name).status for name in codes] == [201] * 3
    backend(stage, keys)
    return new


def test_a_key_is_changed_under_traffic(new_stage: Setting) -> None:
    """What was sealed before opens, what is sealed after is sealed anew, and no code is lost."""
    stage = new_stage(**LONG)
    old, new = str(stage._given["secret_keys"]), make_key()
    workers = [stage.worker(), stage.worker()]
    early = stage.person().open()
    assert sealed_with(stage, old)

    workers = roll(stage, workers, f"{old},{new}")
    between = stage.person().open()
    assert not sealed_with(stage, new), "the first key seals, and that is still the old one"

    workers = roll(stage, workers, f"{new},{old}")
    late = stage.person().open()
    assert {name for name in sealed_with(stage, new) if late.id in name}
    cleared = [stage.outcome(one.submit(one.right())) for one in (early, between, late)]
    assert [record.status for record in cleared] == [201] * 3
    for one in (early, between, late):
        assert stage.client.take_session(account_id=one.id, provider=one.provider) is not None
    assert {name for name in sealed_with(stage, new) if early.id in name}, "its session"


def test_what_only_a_removed_key_opens_is_refused_unsent(new_stage: Setting) -> None:
    """Dropped too early it costs those logins alone: 400, and the code was not sent."""
    stage = new_stage(**LONG)
    old, new = str(stage._given["secret_keys"]), make_key()
    stranded = stage.person().open()
    code = stranded.right()
    waiting = stranded.submit(code)  # No worker yet: it waits, sealed with the old key.
    worker = stage.worker(secret_keys=new)
    record = stage.outcome(waiting)
    assert (record.status, record.code_sent) == (400, False)
    assert record.body is not None
    assert record.body["type"] == "errors/malformed_request"
    assert "open the intent again" in str(record.body["detail"])
    backend(stage, new)
    again = stage.person().open()
    assert stage.outcome(again.submit(again.right())).status == 201
    assert not sealed_with(stage, old) & sealed_with(stage, new)
    until(lambda: "attempt.settled" in worker.log, "the line of the log")
    assert old not in worker.log
    assert stranded.sends(code) == 0
