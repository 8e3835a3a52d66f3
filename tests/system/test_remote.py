"""Remote control of a live worker: a client of the broker asks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from celery import Celery
from celery.worker.control import Panel
from kombu.pidbox import Mailbox

from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.runtime.broker import REPLIES_KEPT_MS
from checkpoint_worker.worker.runtime.remote_control import (
    ANSWERS,
    AS_THEY_ARE,
    INSTEAD,
    SETTINGS_SHOWN,
)
from tests.support.deployment import Deployment, Worker, until
from tests.system.test_messages import send_raw
from tests.system.test_pool import Monitor

ANSWER_S: Final = 10.0

Scene = tuple[Deployment, Worker, Celery]

ARGUMENTS: dict[str, dict[str, Any]] = {
    "add_consumer": {"queue": "other"},
    "autoscale": {"max": 1, "min": 1},
    "cancel_consumer": {"queue": "remote"},
    "election": {"id": "1", "topic": "task", "action": {"task": "checkpoint.solve"}},
    "pool_grow": {"n": 5},
    "pool_restart": {"modules": ["os"], "reload": True},
    "pool_shrink": {"n": 999},
    "rate_limit": {"task_name": "checkpoint.solve", "rate_limit": "1/h"},
    "revoke": {"task_id": "held", "terminate": True, "signal": "SIGKILL"},
    "revoke_by_stamped_headers": {"headers": {"a": "b"}, "terminate": True},
    "terminate": {"task_id": "held", "signal": "SIGKILL"},
    "time_limit": {"task_name": "checkpoint.solve", "hard": 0.1, "soft": 0.1},
}
REFUSED = sorted(set(Panel.data) - AS_THEY_ARE - set(ANSWERS))


@pytest.fixture(scope="module")
def scene(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A worker, and a producer that knows Celery's remote control."""
    with Deployment(redis_server.url, "remote", tmp_path_factory.mktemp("remote")) as deployment:
        producer = make_producer(deployment.settings)
        worker = deployment.worker()
        yield deployment, worker, producer
        assert worker.terminate() == 0, worker.log[-4000:]
        producer.close()
        deployment.check()


def ask(scene: Scene, command: str, **arguments: Any) -> Any:
    """Send a command to the worker; return what it answers.

    A broadcast reaches who listens: a worker that connects again just then never hears it.
    """
    deployment, _, producer = scene
    node = f"{deployment.prefix}-0@test"
    replies: Any = until(
        lambda: producer.control.broadcast(
            command, arguments=arguments, destination=[node], reply=True, limit=1, timeout=ANSWER_S
        ),
        "an answer",
    )
    return replies[0][node]


def test_every_command_that_changes_something_is_known() -> None:
    """A list that has grown with Celery is looked through again, not trusted."""
    assert set(INSTEAD) <= set(REFUSED)
    assert set(REFUSED) - set(INSTEAD) == {"election", "memdump", "memsample", "objgraph"}


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_changes_something_is_refused(scene: Scene, command: str) -> None:
    """The worker goes on as if nothing had been said, and says what to do instead."""
    deployment, worker, _ = scene
    person = deployment.person().open().hold()
    submission = person.submit(person.right(), None)
    person.received()
    arguments = ARGUMENTS.get(command, {})
    if "task_id" in arguments:
        arguments = arguments | {"task_id": [submission]}
    answer = ask(scene, command, **arguments)
    assert f"{command} is refused" in answer["error"]
    assert INSTEAD.get(command, "") in answer["error"]
    assert ask(scene, "revoked") == []
    person.release()
    assert deployment.outcome(submission).status == 201
    after = deployment.person().open()
    assert deployment.outcome(after.submit(after.wrong())).status == 401
    assert worker.process.poll() is None


def test_a_greeting_revokes_nothing(scene: Scene) -> None:
    """Celery's workers take each other's word for what is revoked; anybody can greet."""
    deployment, _, _ = scene
    person = deployment.person().open()
    answer = ask(scene, "hello", from_node="stranger@test", revoked=["sub_next", "x"])
    assert answer["revoked"] == {}
    assert ask(scene, "revoked") == []
    assert deployment.outcome(person.submit(person.right(), "sub_next")).status == 201


def test_a_worker_believes_no_neighbour(scene: Scene) -> None:
    """Without mingle it asks nobody at its start, without gossip nobody elects it."""
    _, worker, _ = scene
    assert "mingle" not in worker.log
    subscribed = scene[0].redis.pubsub_numpat()
    assert subscribed == 1, "remote control alone"


def test_a_pattern_is_no_regular_expression(scene: Scene) -> None:
    """One that never ends would stop the consumer of every worker."""
    deployment, worker, producer = scene
    mailbox: Mailbox = producer.control.mailbox
    with producer.connection_or_acquire() as connection:
        mailbox(connection)._broadcast("ping", pattern="(a|.)*" * 20 + "$^", matcher="pcre")
    until(lambda: "remote.pattern_refused" in worker.log, "the refusal")
    assert ask(scene, "ping") == {"ok": "pong"}
    person = deployment.person().open()
    assert deployment.outcome(person.submit(person.right())).status == 201


@pytest.mark.parametrize("arguments", [{"_state": 1}, {"state": 1}, {"self": 1}, {"ids": {"a": 1}}])
@pytest.mark.parametrize("command", sorted(ANSWERS))
def test_odd_arguments_get_an_answer(scene: Scene, command: str, arguments: dict[str, Any]) -> None:
    """Whatever a stranger sends along, the worker answers and lives."""
    ask(scene, command, **arguments)


def test_questions_are_answered_and_tell_no_secret(scene: Scene) -> None:
    """What Flower and `celery inspect` need; no code, sealed or not, no password, no key."""
    deployment, _, producer = scene
    person = deployment.person().open().hold()
    code = person.right()
    send_raw(producer, person, code, "raw-held")
    person.received()
    answers = {name: ask(scene, name) for name in sorted(set(ANSWERS) | AS_THEY_ARE)}
    answers["query_task"] = ask(scene, "query_task", ids=["raw-held", "unknown"])
    answers["attributes"] = ask(scene, "registered", taskinfoitems=["app", "run"])
    person.release()
    deployment.outcome("raw-held")
    whose = repr({"account_id": person.id, "provider": person.provider})
    assert [each["kwargs"] for each in answers["active"]] == [whose]
    assert answers["query_task"]["raw-held"][1]["kwargs"] == whose
    assert answers["registered"] == answers["attributes"] == ["checkpoint.solve"]
    assert answers["conf"]["task_default_queue"] == deployment.prefix
    assert not [name for name in answers["conf"] if not name.startswith(SETTINGS_SHOWN)]
    assert answers["stats"]["broker"]["hostname"] == "127.0.0.1"
    assert answers["stats"]["total"]["checkpoint.solve"] >= 1
    text = repr(answers)
    password = urlsplit(deployment.url).password
    [key] = (key.get_secret_value() for key in deployment.settings.secret_keys)
    assert password
    for secret in (password, key, code, "sealed", "transport_options"):
        assert secret not in text, secret


def test_answers_to_a_monitor_that_has_died_go_away(scene: Scene) -> None:
    """A probe that is killed while it waits leaves a list, and the next one another list."""
    deployment, _, producer = scene
    with producer.connection_for_write() as connection:
        mailbox: Any = producer.control.mailbox(connection)
        queue = mailbox.get_reply_queue().name
        mailbox._publish("ping", {}, reply_ticket="t-1", channel=connection.default_channel)
        until(lambda: deployment.redis.llen(queue), "an answer that nobody reads")
        assert until(lambda: deployment.redis.pttl(queue) > 0, "its life")
    assert deployment.redis.pttl(queue) <= REPLIES_KEPT_MS
    deployment.redis.delete(queue)


def test_another_deployment_on_the_same_redis_is_not_heard(
    scene: Scene, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Else its accounts are in this one's Flower, and its workers answer this one's questions."""
    deployment, _, producer = scene
    with Deployment(redis_server.url, "remote-2", tmp_path) as other:
        with (
            make_producer(other.settings) as theirs,
            Monitor(theirs) as sees,
            Monitor(producer) as ours,
        ):
            worker = other.worker()
            person, here = other.person().open(), deployment.person().open()
            submission = person.submit(person.right())
            sees.wait(submission, "task-succeeded")
            ours.wait(here.submit(here.right()), "task-succeeded")
            assert {event["hostname"] for event in ours.events} == {"remote-0@test"}
            asked: Any = until(lambda: producer.control.inspect(timeout=2).ping(), "an answer")
            assert list(asked) == ["remote-0@test"]
        assert worker.terminate() == 0
        other.check()


def test_the_usual_prefix_keeps_celery_s_names() -> None:
    """Monitors of others know them."""
    usual, other = Keys("checkpoint"), Keys("team")
    assert (usual.control, usual.events) == ("celery", "celeryev")
    assert (other.control, other.events) == ("team.celery", "team.celeryev")
