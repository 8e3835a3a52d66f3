"""Both clients, one suite: submit, read, wait, cancel, kill, listen, take."""

import asyncio
import copy
import json
import logging
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from checkpoint_worker.tasks.client import (
    AsyncCheckpointClient,
    CheckpointClient,
    base,
    wake_sender,
)
from checkpoint_worker.tasks.client import waiter as ears
from checkpoint_worker.tasks.operations import submissions as client_steps
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.operations.wake import PRODUCER_TIMEOUT_S
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage import executor
from checkpoint_worker.tasks.storage.ids import Process
from checkpoint_worker.tasks.storage.vault import Vault, make_key
from tests.support.ledger_fixture import ACCOUNT, CONTEXT, PROVIDER, LedgerFixture, settings_for

PATIENCE_S = 30.0
PLACE: dict[str, Any] = {"account_id": ACCOUNT, "provider": PROVIDER}
OPENING: dict[str, Any] = {
    **PLACE,
    "checkpoint": {"type": "OTP", "source": "EMAIL"},
    "context": CONTEXT,
}


CROWD = 128
"""Threads that may wait at once. They are made once for the module: thousands that come and go
make the tracer of coverage stumble over its own bookkeeping of greenlets."""


@pytest.fixture(scope="module")
def crowd() -> Iterator[ThreadPoolExecutor]:
    """Return threads to wait on."""
    with ThreadPoolExecutor(CROWD) as pool:
        yield pool


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return a loop that runs on a thread of its own."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    asyncio.run_coroutine_threadsafe(made.shutdown_default_executor(), made).result(PATIENCE_S)
    made.call_soon_threadsafe(made.stop)
    thread.join(PATIENCE_S)
    made.close()


class Awaited:
    """`AsyncCheckpointClient` as if it were blocking, on a loop that runs elsewhere."""

    def __init__(self, settings: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.client = self.run(self._make(settings))

    @staticmethod
    async def _make(settings: Any) -> AsyncCheckpointClient:
        return AsyncCheckpointClient(settings)

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return lambda *args, **given: self.run(method(*args, **given))

    def outcomes(self, *args: Any, **given: Any) -> list[Outcome]:
        async def every() -> list[Outcome]:
            return [record async for record in self.client.outcomes(*args, **given)]

        return self.run(every())  # type: ignore[no-any-return]

    def first(self, *args: Any, **given: Any) -> Outcome:
        """Take one outcome and crash: nothing is asked for after it."""

        async def one() -> Outcome:
            records = self.client.outcomes(*args, **given)
            record: Outcome = await anext(records)
            await records.aclose()
            return record

        return self.run(one())  # type: ignore[no-any-return]

    def close(self) -> None:
        self.run(self.client.close())


class Blocking(CheckpointClient):
    """`CheckpointClient`, made alike and with the one helper the tests share."""

    def __init__(self, settings: Any, _loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(settings)

    def first(self, *args: Any, **given: Any) -> Outcome:
        """Take one outcome and crash: nothing is asked for after it."""
        records = self.outcomes(*args, **given)
        record = next(records)
        records.close()  # type: ignore[attr-defined]
        return record


@pytest.fixture(params=[Blocking, Awaited], ids=["sync", "async"])
def make_client(
    request: pytest.FixtureRequest, ledger: LedgerFixture, loop: asyncio.AbstractEventLoop
) -> Iterator[Any]:
    """Return a maker of clients at the ledger's Redis."""
    made = []

    def make(**more: Any) -> Any:
        url = more.pop("redis_url", ledger.settings.redis_url.get_secret_value())
        made.append(request.param(settings_for(url, **more), loop))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Any) -> Any:
    """Return a client with the default settings."""
    return make_client()


def opened(client: Any, **more: Any) -> Any:
    """Open the usual intent."""
    return client.open_intent(**OPENING | more)


def submit(client: Any, submission_id: str | None = None, code: str = "123456", **more: Any) -> Any:
    """Submit for the usual account."""
    return client.submit(**{**PLACE, "code": code, "submission_id": submission_id, **more})


def wakes(ledger: LedgerFixture) -> list[dict[str, Any]]:
    """Return the Celery messages that wait in the queue."""
    return [json.loads(text) for text in ledger.redis.lrange("checkpoint", 0, -1)]


# Submitting --------------------------------------------------------------------------------


def test_a_submission_is_in_the_ledger_before_a_worker_is_woken(
    ledger: LedgerFixture, client: Any
) -> None:
    """The message names task, id and place; the code is not in it."""
    opened(client)
    submitted = submit(client, code="482913")
    assert client.result(submitted.id) == submitted.outcome
    [message] = wakes(ledger)
    assert message["headers"]["task"] == "checkpoint.solve"
    assert message["headers"]["id"] == submitted.id
    assert message["content-type"] == "application/json"
    assert "482913" not in json.dumps(message)
    submit(client, submitted.id)
    assert len(wakes(ledger)) == 1, "a known id wakes nobody"


def test_a_submission_refused_at_once_wakes_nobody(ledger: LedgerFixture, client: Any) -> None:
    """There is nothing to do."""
    assert submit(client).outcome.status == 403
    assert wakes(ledger) == []


def test_a_broker_that_is_away_costs_nothing_but_time(
    ledger: LedgerFixture,
    make_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The ledger has the submission; the sweeper sends the wake. The log names the id only."""
    client = make_client(broker_url="redis://127.0.0.1:1/0")
    text = "canary"

    def broken(*_: object) -> None:
        raise OperationalError(text)

    monkeypatch.setattr(wake_sender, "send_wake", broken)
    opened(client)
    with caplog.at_level(logging.WARNING):
        submitted = submit(client)
    assert submitted.accepted
    assert ledger.outcome(submitted.id).state == "queued"
    assert submitted.id in caplog.text
    assert "canary" not in caplog.text


def test_a_ledger_that_is_away_is_503_with_the_id_to_ask_for(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was taken is unknown: the same id may be sent again."""
    monkeypatch.setattr(executor, "PAUSES_S", (0.0, 0.0))
    client = make_client(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(CheckpointError) as caught:
        submit(client, "s1")
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.body["instance"] == "s1"


CALLS: dict[str, Any] = {
    "open_intent": lambda client: client.open_intent(**OPENING),
    "submit": lambda client: client.submit(**PLACE, code="123456"),
    "result": lambda client: client.result("s1"),
    "wait": lambda client: client.wait("s1"),
    "outcomes": lambda client: list(client.outcomes()),
    "outcomes of a group": lambda client: list(client.outcomes(group="g")),
    "cancel": lambda client: client.cancel("s1"),
    "intent": lambda client: client.intent(**PLACE),
    "kill_intent": lambda client: client.kill_intent(**PLACE),
    "take_session": lambda client: client.take_session(**PLACE),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_tells_a_ledger_that_is_away_as_503(
    make_client: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """One kind of error to catch, fit to be answered; its detail says what is known then."""
    monkeypatch.setattr(executor, "PAUSES_S", (0.0, 0.0))
    client = make_client(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(CheckpointError) as caught:
        CALLS[name](client)
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.retry_after_s == client_steps.RETRY_S
    assert "ledger did not answer" in str(caught.value)
    assert isinstance(caught.value.__cause__, executor.LedgerUnavailableError)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (executor.LedgerBusyError("busy"), "Too many calls change this login"),
        (executor.ForeignLedgerError("foreign"), "must not be used.*Cause: foreign"),
    ],
)
def test_other_troubles_of_the_ledger_say_that_nothing_was_stored(
    client: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """The caller may do it again without asking first."""
    owner = client.client if isinstance(client, Awaited) else client

    def broken(*_: object) -> Any:
        yield from ()
        raise error

    monkeypatch.setattr(owner._core, "submit", broken)
    with pytest.raises(CheckpointError, match=said) as caught:
        submit(client)
    assert caught.value.status == 503
    assert "nothing was stored" in str(caught.value)


def test_a_submission_whose_replies_are_lost_is_taken_once(
    ledger: LedgerFixture, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same id again: however often it is sent, there is one submission and one wake.

    Every reply of the first call is lost after Redis has done what it was told, so the backend
    hears 503 and does not know. Without an id of its own the second call would be a second code.
    """
    monkeypatch.setattr(executor, "PAUSES_S", (0.0, 0.0))
    opened(client)
    owner = client.client if isinstance(client, Awaited) else client
    whole = owner._executor._eval
    lost: list[Any] = []

    def losing(call: Any) -> bool:
        lose = call.script == "commit" and len(lost) < executor.TRIES
        if lose:
            lost.append(call)
        return lose

    async def awaited(call: Any) -> Any:
        reply = await whole(call)
        if losing(call):
            raise redis.ConnectionError
        return reply

    def blocking(call: Any) -> Any:
        reply = whole(call)
        if losing(call):
            raise redis.ConnectionError
        return reply

    monkeypatch.setattr(
        owner._executor, "_eval", awaited if isinstance(client, Awaited) else blocking
    )
    with pytest.raises(CheckpointError, match="read this submission id"):
        submit(client, "s1")
    again = submit(client, "s1")
    assert (again.id, again.accepted, again.outcome.seq) == ("s1", False, 1)
    intent = ledger.intent()
    assert (intent.seq, intent.current and intent.current.id) == (1, "s1")
    assert ledger.stream() == [], "nothing was superseded"


class SilentBroker:
    """Takes every connection and never says a word."""

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def test_a_silent_broker_holds_nobody_for_long(ledger: LedgerFixture, make_client: Any) -> None:
    """The ledger has the submission. Many who submit at once don't wait for each other either."""
    many = 40

    def timed(names: list[str]) -> float:
        client = make_client(broker_url=broker)
        began = time.monotonic()
        if isinstance(client, Awaited):

            async def every() -> list[Any]:
                place = {**PLACE, "code": "123456"}
                return await asyncio.gather(
                    *(client.client.submit(**{**place, "account_id": name}) for name in names)
                )

            made = client.run(every())
        else:
            with ThreadPoolExecutor(many) as pool:
                made = list(pool.map(lambda name: submit(client, account_id=name), names))
        assert all(one.accepted for one in made)
        return time.monotonic() - began

    with SilentBroker() as broker:
        for number in range(many):
            ledger.open(f"acc_{number}")
        alone_s = timed(["acc_0"])
        crowd_s = timed([f"acc_{number}" for number in range(1, many)])
    assert alone_s < 5 * PRODUCER_TIMEOUT_S
    assert crowd_s < 3 * alone_s, "one after the other it would be five times"


# Reading -----------------------------------------------------------------------------------


def age(ledger: LedgerFixture, submission_id: str, seconds: float) -> None:
    """Make a submission older than it is: its record and what its intent knows of it."""
    record = ledger.outcome(submission_id)
    assert record.queued_at is not None
    older = record.model_copy(update={"queued_at": record.queued_at - timedelta(seconds=seconds)})
    ledger.redis.set(ledger.store.keys.result(submission_id), older.to_json())
    key = ledger.store.keys.intent(PROVIDER, ACCOUNT)
    intent = json.loads(str(ledger.redis.get(key)))
    intent["current"]["deadline_ms"] -= round(seconds * 1000)
    ledger.redis.set(key, json.dumps(intent))


def test_polling_tells_unknown_queued_running_and_final_apart(
    ledger: LedgerFixture, client: Any
) -> None:
    """``result`` has four answers: ``None``, queued, running and final."""
    assert client.result("s1") is None
    opened(client)
    submit(client, "s1")
    assert client.result("s1").state == "queued"
    ledger.claim("s1")
    assert client.result("s1").state == "running"
    ledger.clear("s1")
    final = client.result("s1")
    assert (final.state, final.status, final.body["object"]) == ("final", 201, "AccountCreated")


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "\ud800", None, 5])
def test_what_cannot_be_an_id_is_unknown(client: Any, name: Any) -> None:
    """The person who typed it into an address asked for it."""
    assert client.result(name) is None
    assert client.cancel(name) is None
    assert client.wait(name) is None


def test_a_reader_settles_what_is_overdue_although_no_worker_lives(
    ledger: LedgerFixture, client: Any
) -> None:
    """A second after the deadline a question gets an answer, never queued for ever."""
    past = ledger.ago(31.5)
    past.open()
    past.submit("s1")
    record = client.result("s1")
    assert (record.status, record.error.type, record.code_sent) == (504, "request_timeout", False)
    assert ledger.intent().current is None


def test_a_reader_leaves_alone_what_has_time(ledger: LedgerFixture, client: Any) -> None:
    """The second after the deadline belongs to the sweeper."""
    past = ledger.ago(29)
    past.open()
    past.submit("s1")
    assert client.result("s1").state == "queued"


def test_a_claimed_submission_that_is_overdue_may_have_been_sent(
    ledger: LedgerFixture, client: Any
) -> None:
    """The record says so, in the field and in words."""
    ledger.claimed("s1")
    age(ledger, "s1", 31.5)
    record = client.result("s1")
    assert (record.status, record.code_sent) == (504, True)
    assert "may have been used" in record.body["detail"]


def test_a_record_its_intent_does_not_know_is_settled_once_overdue(
    ledger: LedgerFixture, client: Any
) -> None:
    """A Redis that lost its last writes: who it superseded and when it came is kept."""
    ledger.accepted("s1")
    ledger.submit("s2", "654321")
    ledger.claim("s2")
    age(ledger, "s2", 31.5)
    before = ledger.outcome("s2")
    ledger.redis.delete(ledger.store.keys.intent(PROVIDER, ACCOUNT))
    record = client.result("s2")
    assert (record.status, record.code_sent, record.intent) == (504, True, None)
    assert (record.generation, record.seq, record.supersedes) == (1, 2, "s1")
    assert (record.queued_at, record.started_at) == (before.queued_at, before.started_at)
    assert client.result("s2") == record
    assert [entry["submission_id"] for entry in ledger.stream()] == ["s1", "s2"]


def test_a_record_without_a_time_is_left_as_it_is(ledger: LedgerFixture, client: Any) -> None:
    """Written by a release we do not know: nothing to judge it by."""
    ledger.accepted("s1")
    told = json.loads(ledger.outcome("s1").to_json()) | {"queued_at": None}
    ledger.redis.set(ledger.store.keys.result("s1"), json.dumps(told))
    assert client.result("s1").state == "queued"


# Waiting -----------------------------------------------------------------------------------


def test_waiting_for_what_is_final_or_unknown_ends_at_once(
    ledger: LedgerFixture, client: Any
) -> None:
    """No subscription is made for it."""
    assert client.wait("unknown", timeout_s=PATIENCE_S) is None
    assert client.wait(submit(client).id, timeout_s=PATIENCE_S).status == 403


def test_waiting_ends_with_the_publication(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling is switched off: only the channel can end this wait."""
    monkeypatch.setattr(ears, "POLL_S", 1_000.0)
    opened(client)
    submit(client, "s1")
    channel = f"checkpoint:results:{ACCOUNT}"
    waiting = crowd.submit(client.wait, "s1", timeout_s=PATIENCE_S)
    until(lambda: dict(ledger.redis.pubsub_numsub(channel))[channel] == 1)
    ledger.submit("s2", "654321")
    record = waiting.result(PATIENCE_S)
    assert (record.status, record.superseded_by) == (409, "s2")
    until(lambda: dict(ledger.redis.pubsub_numsub(channel))[channel] == 0)


def test_what_was_published_before_the_subscription_is_not_missed(
    ledger: LedgerFixture, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subscribe, then read: the outcome falls between the first look and the subscription."""
    monkeypatch.setattr(ears, "POLL_S", 1_000.0)
    opened(client)
    submit(client, "s1")
    owner = client.client if isinstance(client, Awaited) else client
    whole = owner._core.look
    looks: list[str] = []

    def look(submission_id: str) -> Any:
        found = yield from whole(submission_id)
        if not looks:
            ledger.submit("s2", "654321")
        looks.append(submission_id)
        return found

    monkeypatch.setattr(owner._core, "look", look)
    assert client.wait("s1", timeout_s=PATIENCE_S).status == 409


def test_a_wait_whose_time_is_up_returns_the_non_final_record(client: Any) -> None:
    """The wait ends without an error, and the submission continues."""
    opened(client)
    submit(client, "s1")
    assert client.wait("s1", timeout_s=0.05).state == "queued"
    assert client.wait("s1", timeout_s=0).state == "queued"


def test_a_record_that_vanishes_ends_the_wait(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor
) -> None:
    """A Redis that lost everything."""
    opened(client)
    submit(client, "s1")
    waiting = crowd.submit(client.wait, "s1", timeout_s=PATIENCE_S)
    until(lambda: followed(ledger) == 1)
    ledger.redis.delete(ledger.store.keys.result("s1"))
    ledger.redis.publish(f"checkpoint:results:{ACCOUNT}", "{}")
    assert waiting.result(PATIENCE_S) is None


def test_a_wait_outlives_a_connection_that_is_cut(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription is made anew, and what was missed is read."""
    monkeypatch.setattr(ears, "RECONNECT_S", 0.01)
    opened(client)
    submit(client, "s1")
    waiting = crowd.submit(client.wait, "s1", timeout_s=PATIENCE_S)
    until(lambda: followed(ledger) == 1)
    assert ledger.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
    ledger.submit("s2", "654321")
    assert waiting.result(PATIENCE_S).status == 409


def test_several_may_wait_for_one_account(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor
) -> None:
    """Each hears it; the first to leave does not take the channel from the others."""
    opened(client)
    submit(client, "s1")
    short = crowd.submit(client.wait, "s1", timeout_s=0.05)
    long = [crowd.submit(client.wait, "s1", timeout_s=PATIENCE_S) for _ in range(2)]
    assert short.result(PATIENCE_S).state == "queued"
    ledger.submit("s2", "654321")
    assert [waiting.result(PATIENCE_S).status for waiting in long] == [409, 409]


def test_more_may_wait_than_there_are_connections(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor
) -> None:
    """A hundred people type their codes at once; each wait must not hold what readers need."""
    many = executor.CONNECTIONS_MAX + 36
    for number in range(many):
        ledger.open(f"acc_{number}")
        ledger.submit(f"s{number}", account=f"acc_{number}")
    waits = [
        crowd.submit(client.wait, f"s{number}", timeout_s=PATIENCE_S) for number in range(many)
    ]
    until(lambda: followed(ledger) == many)
    for number in range(many):
        # However long it took until all are followed: how old the queue is is not the matter.
        later = {"account": f"acc_{number}", "queue_age_ms": 600_000}
        ledger.submit(f"t{number}", "654321", **later)
    assert {waiting.result(PATIENCE_S).status for waiting in waits} == {409}
    until(lambda: followed(ledger) == 0)


def followed(ledger: LedgerFixture) -> int:
    """Return how many accounts are listened to."""
    return len(ledger.redis.pubsub_channels("checkpoint:results:*"))


def until(true: Any) -> None:
    """Look again and again until something is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it never came to be so"
        time.sleep(0.005)


# Cancel, kill, look ------------------------------------------------------------------------


def test_a_submission_is_taken_back_once(ledger: LedgerFixture, client: Any) -> None:
    """409, not sent; a second time the record stands as it is, an unknown id is unknown."""
    assert client.cancel("s1") is None
    opened(client)
    submit(client, "s1")
    canceled = client.cancel("s1")
    assert (canceled.status, canceled.code_sent) == (409, False)
    assert client.cancel("s1") == canceled
    assert client.intent(**PLACE).state == "open"


def test_a_claimed_submission_is_taken_back_as_sent(ledger: LedgerFixture, client: Any) -> None:
    """Hanging up does not un-send."""
    opened(client)
    submit(client, "s1")
    ledger.claim("s1")
    assert client.cancel("s1").code_sent is True
    assert client.intent(**PLACE).busy


def test_a_killed_intent_answers_what_runs_and_what_comes(
    ledger: LedgerFixture, client: Any
) -> None:
    """500 for the one in flight and for later ones, until it is opened again."""
    assert client.kill_intent(**PLACE) is None
    opened(client)
    submit(client, "s1")
    info = client.kill_intent(**PLACE)
    assert (info.state, info.current) == ("killed", None)
    assert client.result("s1").status == 500
    assert submit(client, "s2").outcome.status == 500
    assert client.kill_intent(**PLACE).state == "killed"
    assert opened(client).generation == 2


def test_an_intent_is_shown_without_its_secrets(ledger: LedgerFixture, client: Any) -> None:
    """`checkpoint show` prints it."""
    assert client.intent(**PLACE) is None
    opened(client, user_id="u1")
    submit(client, "s1", code="482913")
    info = client.intent(**PLACE)
    assert (info.current, info.busy, info.failures_left, info.checkpoint_step) == (
        "s1",
        False,
        3,
        1,
    )
    assert info.checkpoint == {"type": "OTP", "source": "EMAIL"}
    assert (info.expires_at - info.opened_at).total_seconds() == 300
    assert "482913" not in info.model_dump_json()
    assert "made-up" not in info.model_dump_json()


@pytest.mark.parametrize("method", ["intent", "kill_intent", "take_session"])
def test_who_and_where_are_checked_everywhere(client: Any, method: str) -> None:
    """The same errors as at submit."""
    with pytest.raises(CheckpointError) as caught:
        getattr(client, method)("acc_1", "MYSPACE")
    assert caught.value.pair.key == (400, "invalid_parameters")


def test_a_session_is_taken_once_per_token(
    ledger: LedgerFixture, client: Any, make_client: Any
) -> None:
    """Its own again for 60 s, another's never."""
    assert client.take_session(**PLACE) is None
    opened(client)
    submit(client, "s1")
    ledger.claim("s1")
    ledger.clear("s1")
    assert client.take_session(**PLACE) == {"cookie": "made-up"}
    assert client.take_session(**PLACE) == {"cookie": "made-up"}
    assert make_client().take_session(**PLACE) is None
    assert client.take_session(**PLACE, token="other") is None


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("rubbish", "damaged"),
        (b"\xff\xfe", "damaged"),
        (None, "does not hold"),
        ("{", "it has an invalid form"),
        ("[1]", "it has an invalid form"),
    ],
)
def test_a_session_that_cannot_be_opened_is_a_503_that_says_so(
    ledger: LedgerFixture, client: Any, stored: str | bytes | None, said: str
) -> None:
    """Not a bug of the caller: damaged, sealed with a key that is not here, or no session."""
    if stored is None:
        stored = Vault([make_key()]).seal(f"session|{PROVIDER}|{ACCOUNT}", b"{}")
    elif str(stored)[0] in "{[":
        stored = ledger.vault.seal(f"session|{PROVIDER}|{ACCOUNT}", str(stored).encode())
    ledger.redis.set(ledger.store.keys.session(PROVIDER, ACCOUNT), stored)
    with pytest.raises(CheckpointError, match=f"cannot be opened here: .*{said}") as caught:
        client.take_session(**PLACE)
    assert caught.value.pair.key == (503, "service_unavailable")


# Outcomes ----------------------------------------------------------------------------------


def ids(records: Any) -> list[str]:
    """Return the submissions of records."""
    return [record.submission_id for record in records]


def refuse(ledger: LedgerFixture, *names: str, account: str = ACCOUNT) -> None:
    """Write a final record for each, by submitting to an account without an intent."""
    for name in names:
        ledger.submit(name, account=account)


def test_outcomes_are_the_newest_first(ledger: LedgerFixture, client: Any) -> None:
    """At most `limit`; of one account if asked for."""
    assert list(client.outcomes()) == []
    refuse(ledger, "s1", "s2")
    refuse(ledger, "o1", account="acc_2")
    refuse(ledger, "s3")
    assert ids(client.outcomes()) == ["s3", "o1", "s2", "s1"]
    assert ids(client.outcomes(limit=2)) == ["s3", "o1"]
    assert ids(client.outcomes(ACCOUNT, limit=2)) == ["s3", "s2"]
    assert ids(client.outcomes("acc_2")) == ["o1"]
    assert ids(client.outcomes("acc_3")) == []


def test_one_account_s_outcomes_are_found_among_many_of_others(
    ledger: LedgerFixture, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, not only among the newest `limit` of all."""
    monkeypatch.setattr("checkpoint_worker.tasks.storage.stream.PAGE", 3)
    refuse(ledger, "s1", "s2")
    refuse(ledger, *(f"o{number}" for number in range(10)), account="acc_2")
    assert ids(client.outcomes(ACCOUNT, limit=2)) == ["s2", "s1"]


@pytest.mark.parametrize(
    ("limit", "key"),
    [
        (1_001, (400, "limit_too_high")),
        (0, (400, "invalid_parameters")),
        (-1, (400, "invalid_parameters")),
        ("5", (400, "invalid_parameters")),
        (True, (400, "invalid_parameters")),
    ],
)
def test_a_limit_out_of_bounds_is_refused(client: Any, limit: Any, key: tuple[int, str]) -> None:
    """Each invalid limit has its error; the maximum itself is accepted."""
    with pytest.raises(CheckpointError) as caught:
        list(client.outcomes(limit=limit))
    assert caught.value.pair.key == key
    assert list(client.outcomes(limit=1_000)) == []


@pytest.mark.parametrize(
    "carried",
    [copy.copy, lambda error: pickle.loads(pickle.dumps(error))],  # noqa: S301  our own
    ids=["copy", "pickle"],
)
def test_an_error_can_be_copied_and_pickled(ledger: LedgerFixture, carried: Any) -> None:
    """Else `multiprocessing.Pool` waits for ever, and a `ProcessPoolExecutor` breaks."""
    with CheckpointClient(ledger.settings) as client, pytest.raises(CheckpointError) as caught:
        next(client.outcomes(limit=0))
    caught.value.retry_after_s = 7
    error = carried(caught.value)
    assert (type(error), str(error)) == (CheckpointError, str(caught.value))
    assert vars(error) == vars(caught.value)


def test_a_group_gets_each_outcome_until_it_has_finished_it(
    ledger: LedgerFixture, make_client: Any
) -> None:
    """Oldest first; two readers of a group share, two groups do not."""
    first, second = make_client(), make_client()
    refuse(ledger, "s1", "s2", "s3")
    assert ids(first.outcomes(group="g", limit=2)) == ["s1", "s2"]
    assert ids(second.outcomes(group="g")) == ["s3"]
    assert ids(first.outcomes(group="g")) == []
    assert ids(first.outcomes(ACCOUNT, group="other")) == ["s1", "s2", "s3"]
    refuse(ledger, "s4")
    assert ids(first.outcomes(group="g")) == ["s4"]


def test_a_reader_that_crashes_gets_the_same_again(ledger: LedgerFixture, client: Any) -> None:
    """A record is finished when the next one is asked for: at least once."""
    refuse(ledger, "s1", "s2")
    assert client.first(group="g").submission_id == "s1"
    assert ids(client.outcomes(group="g")) == ["s1", "s2"]
    assert ids(client.outcomes(group="g")) == []


def test_what_a_reader_left_when_it_died_is_given_to_another(
    ledger: LedgerFixture, make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process is a new reader: without this its predecessor's records are lost."""
    dead, heir = make_client(), make_client()
    refuse(ledger, "s1", "s2")
    assert dead.first(group="g").submission_id == "s1"
    assert ids(heir.outcomes(group="g")) == ["s2"], "held by one that may still be at it"
    monkeypatch.setattr(client_steps, "ABANDONED_MS", 0)
    assert ids(heir.outcomes(group="g")) == ["s1"]


def test_what_was_cut_off_the_stream_meanwhile_is_passed_over(
    ledger: LedgerFixture, client: Any
) -> None:
    """The cap took it while a reader held it."""
    refuse(ledger, "s1", "s2")
    assert client.first(group="g").submission_id == "s1"
    ledger.redis.xtrim(ledger.store.keys.outcomes, 0, approximate=False)
    refuse(ledger, "s3")
    assert ids(client.outcomes(group="g")) == ["s3"]
    assert ledger.redis.xpending(ledger.store.keys.outcomes, "g")["pending"] == 0


def test_one_account_s_reader_of_a_group_finishes_the_others_too(
    ledger: LedgerFixture, client: Any
) -> None:
    """A group has one filter; what it does not want it does not keep."""
    refuse(ledger, "s1")
    refuse(ledger, "o1", account="acc_2")
    assert ids(client.outcomes("acc_2", group="g")) == ["o1"]
    assert ids(client.outcomes(group="g")) == []


# As in the contract ------------------------------------------------------------------------


async def test_the_awaited_client_lives_in_one_run(ledger: LedgerFixture) -> None:
    """``async with`` inside ``asyncio.run``: nothing is left open, which would be a warning."""
    async with AsyncCheckpointClient(ledger.settings) as client:
        await client.open_intent(**OPENING)
        submission = await client.submit(**PLACE, code="123456")
        waiting = asyncio.create_task(client.wait(submission.id, timeout_s=PATIENCE_S))
        await asyncio.sleep(0)
        await client.cancel(submission.id)
        record = await waiting
    assert record is not None
    assert record.status == 409


def test_the_blocking_client_is_a_context_manager(ledger: LedgerFixture) -> None:
    """The settings come from the environment where none are given."""
    with CheckpointClient(ledger.settings) as client:
        client.open_intent(**OPENING)
        assert client.intent(**PLACE) is not None


async def test_clients_read_the_environment(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``CheckpointClient()`` without arguments reads its settings from the environment."""
    url = ledger.settings.redis_url.get_secret_value()
    monkeypatch.setenv("CHECKPOINT_REDIS_URL", url)
    monkeypatch.setenv("CHECKPOINT_SECRET_KEYS", ledger.settings.secret_keys[0].get_secret_value())
    with CheckpointClient() as client:
        assert client.result("unknown") is None
    async with AsyncCheckpointClient() as other:
        found = await other.result("unknown")
    assert found is None


def test_a_wait_without_a_channel_still_finds_the_outcome(
    ledger: LedgerFixture, client: Any, crowd: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is heard is a hint: where no subscription can be had, looking does it."""
    monkeypatch.setattr(ears, "POLL_S", 0.01)
    monkeypatch.setattr(ears, "RECONNECT_S", 0.01)

    def broken(*_: object, **__: object) -> Any:
        raise redis.ConnectionError

    monkeypatch.setattr(redis.client.PubSub, "subscribe", broken)
    monkeypatch.setattr(redis.asyncio.client.PubSub, "subscribe", broken)
    opened(client)
    submit(client, "s1")
    waiting = crowd.submit(client.wait, "s1", timeout_s=PATIENCE_S)
    ledger.submit("s2", "654321")
    assert waiting.result(PATIENCE_S).status == 409


def test_threads_of_a_fork_make_its_connections_once(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that comes makes them, and those of the parent stay alive and untouched."""
    client = CheckpointClient(ledger.settings)
    parent, fork = client._redis, Process()
    monkeypatch.setattr(base, "this_process", lambda: fork)
    made: list[object] = []
    begin = client._begin

    def begin_once() -> None:
        begin()
        made.append(client._redis)

    monkeypatch.setattr(client, "_begin", begin_once)
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(client.result, ["sub_unknown"] * 4)] == [None] * 4
    assert made == [client._redis]
    assert client._redis is not parent
    assert client._inherited["_redis"] is parent
    client.close()


class Late:
    """A lock before which another thread has done the work."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work

    def __enter__(self) -> None:
        self.work()

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


def test_a_thread_of_a_fork_that_comes_late_makes_nothing(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for the lock, and finds everything made."""
    client = CheckpointClient(ledger.settings)
    before, fork = client._redis, Process()
    monkeypatch.setattr(base, "this_process", lambda: fork)
    fork.lock = Late(lambda: setattr(client, "_process", fork))  # type: ignore[assignment]
    assert client.result("sub_unknown") is None
    assert client._redis is before
    client.close()
