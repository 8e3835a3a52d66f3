"""A ledger with what the tests of the ledger need: store, vault, executors, and a look inside."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import redis
from msgspec import structs

from checkpoint_worker.providers.contract import Checkpoint, Cleared, SolutionKind, Verdict
from checkpoint_worker.tasks.client import make_store, make_vault
from checkpoint_worker.tasks.events import AttemptFinished, Claim, Event, Failed, Open, Submit
from checkpoint_worker.tasks.model import Generation, Intent, Purpose
from checkpoint_worker.tasks.operations.acceptance import Acceptance, Submitted, open_steps
from checkpoint_worker.tasks.operations.validation import Sealed, read_request
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import Operation, ScriptCall, SyncExecutor, connect
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.vault import Vault, make_key
from checkpoint_worker.tasks.storage.views import Snapshot

T = TypeVar("T")

ACCOUNT = "acc_1"
PROVIDER = "LINKEDIN"
EMAIL = Checkpoint(type="OTP", source="EMAIL")
CONTEXT: dict[str, object] = {
    "fields": {"csrfToken": "made-up"},
    "cookies": [{"name": "JSESSIONID", "value": "made-up"}],
}
KEY = make_key()


def settings_for(url: str, **more: Any) -> Settings:
    """Return settings for a ledger; the environment has no say."""
    given: dict[str, Any] = {"redis_url": url, "secret_keys": KEY, **more}
    return Settings(**given)


class PastExecutor(SyncExecutor):
    """An executor whose reads tell a time gone by: decisions are made then, and committed now.

    Stands for a process that was stopped between a read and its commit, and ages
    submissions without waiting.
    """

    def __init__(self, client: redis.Redis, ago_ms: int, *, reads: int = 1_000) -> None:
        super().__init__(client)
        self.ago_ms, self.reads = ago_ms, reads

    def _eval(self, call: ScriptCall) -> list[Any]:
        reply = super()._eval(call)
        if call.script == "read" and self.reads > 0:
            self.reads -= 1
            reply[0] = str(int(reply[0]) - self.ago_ms)
        return reply


@dataclass
class LedgerFixture:
    """One deployment seen from inside."""

    settings: Settings
    store: Store
    vault: Vault
    redis: redis.Redis
    executor: SyncExecutor
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def at(cls, url: str, **more: Any) -> Self:
        """Return a ledger at a Redis."""
        settings = settings_for(url, **more)
        client = connect(url, settings.prefix)
        store, vault = make_store(settings), make_vault(settings)
        return cls(settings, store, vault, client, SyncExecutor(client))

    def ago(self, seconds: float, *, reads: int = 1_000) -> LedgerFixture:
        """Return this ledger as it would have acted some time ago."""
        executor = PastExecutor(self.redis, round(seconds * 1000), reads=reads)
        return LedgerFixture(self.settings, self.store, self.vault, self.redis, executor)

    @property
    def run_id(self) -> str:
        """Identity of this Redis."""
        return str(self.redis.info("server")["run_id"])

    def open(self, account: str = ACCOUNT, **more: Any) -> Intent:
        """Open an intent."""
        sealed = more.pop("sealed", Sealed(context=CONTEXT))
        given: dict[str, Any] = {"checkpoint": EMAIL, "purpose": Purpose.CONNECT, **more}
        event = Open(account_id=account, provider=PROVIDER, **given)
        return self.executor.run(open_steps(self.store, self.vault, event, sealed))

    def submitting(
        self, submission_id: str, code: str = "123456", account: str = ACCOUNT, **more: Any
    ) -> Operation[Submitted]:
        """Return the steps of a submission."""
        request = read_request(self.settings, account, PROVIDER, code)
        room = {name: more.pop(name) for name in ("queue_max", "queue_age_ms") if name in more}
        store = replace(self.store, room=structs.replace(self.store.room, **room))
        return Acceptance(store, self.vault, request, submission_id, **more).steps()

    def submit(self, submission_id: str, code: str = "123456", **more: Any) -> Submitted:
        """Submit a code."""
        return self.executor.run(self.submitting(submission_id, code, **more))

    def accepted(self, submission_id: str) -> Submitted:
        """Open an intent and submit a code."""
        self.open()
        return self.submit(submission_id)

    def claimed(self, submission_id: str) -> Result:
        """Open an intent, submit a code and claim it."""
        self.accepted(submission_id)
        return self.claim(submission_id)

    def bring(
        self, make: Callable[[Snapshot], Event | None], account: str = ACCOUNT, **more: Any
    ) -> Result:
        """Bring an event to an intent."""
        result = self.executor.run(self.store.transact(PROVIDER, account, make, **more))
        assert result is not None
        return result

    def claiming(self, submission_id: str, claim: str = "c1") -> Callable[[Snapshot], Claim]:
        """Return the maker of a claim."""
        return lambda seen: Claim(
            submission_id=submission_id, claim=claim, worker="w1", run_id=seen.run_id
        )

    def claim(self, submission_id: str, claim: str = "c1", account: str = ACCOUNT) -> Result:
        """Claim a submission."""
        return self.bring(self.claiming(submission_id, claim), account)

    def answer(
        self,
        submission_id: str,
        verdict: Verdict | Failed,
        claim: str = "c1",
        account: str = ACCOUNT,
        extra: CommitExtras | None = None,
    ) -> Result:
        """Bring the verdict of a claimed attempt."""
        event = AttemptFinished(
            submission_id=submission_id,
            generation=Generation(1),
            claim=claim,
            kind=SolutionKind.CODE,
            verdict=verdict,
        )
        adding = extra or CommitExtras()
        return self.bring(lambda _: event, account, make_extra=lambda *_: adding)

    def clear(self, submission_id: str, account: str = ACCOUNT) -> Result:
        """Clear an intent, with its session for the backend."""
        name = f"session|{PROVIDER}|{account}"
        sealed = self.vault.seal(name, json.dumps({"cookie": "made-up"}).encode())
        key = self.store.keys.session(PROVIDER, account)
        extra = CommitExtras(put=((key, sealed, self.store.result_ttl_ms),))
        verdict = Cleared(user_id="u1", session={"cookie": "made-up"})
        return self.answer(submission_id, verdict, account=account, extra=extra)

    # Looking

    def intent(self, account: str = ACCOUNT) -> Intent:
        """Return an intent as stored."""
        found = self.executor.run(self.store.read(PROVIDER, account)).intent
        assert found is not None
        return found

    def record(self, submission_id: str) -> Outcome | None:
        """Return a record as stored; nothing is settled by looking."""
        return self.executor.run(self.store.record(submission_id))[1]

    def outcome(self, submission_id: str) -> Outcome:
        """Return a record that is there."""
        record = self.record(submission_id)
        assert record is not None
        return record

    def stream(self) -> list[dict[str, Any]]:
        """Return the records of the stream, oldest first."""
        rows: Any = self.redis.xrange(self.store.keys.outcomes)
        return [json.loads(fields["record"]) for _, fields in rows]

    def dump(self) -> dict[str, Any]:
        """Return every key with its value."""
        return {key: self._value(key) for key in self.redis.scan_iter(count=1000)}

    def _value(self, key: str) -> Any:
        match self.redis.type(key):
            case "string":
                return self.redis.get(key)
            case "zset":
                return self.redis.zrange(key, 0, -1, withscores=True)
            case "set":
                return self.redis.smembers(key)
            case "hash":
                return self.redis.hgetall(key)
            case "list":
                return self.redis.lrange(key, 0, -1)
            case "stream":
                return self.redis.xrange(key)
            case other:
                raise AssertionError(other)


class Subscriber:
    """Hears channels; `heard` returns what came so far, without waiting for time to pass."""

    def __init__(self, client: redis.Redis, *channels: str) -> None:
        self._client = client
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(*channels, "fence")
        for _ in range(len(channels) + 1):
            assert self._next()["type"] == "subscribe"

    def _next(self) -> dict[str, Any]:
        message: Any = self._pubsub.get_message(timeout=30)
        assert message is not None, "nothing came"
        return message  # type: ignore[no-any-return]

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """Return channel and content of all messages that were published until now."""
        self._client.publish("fence", "")
        found = []
        while (message := self._next())["channel"] != "fence":
            found.append((message["channel"], json.loads(message["data"])))
        return found

    def close(self) -> None:
        """Close the subscription."""
        self._pubsub.close()


def in_lockstep(ledger: LedgerFixture, many: Sequence[Operation[T]], rng: random.Random) -> list[T]:
    """Run operations interleaved call by call in a random order, to produce races repeatably."""
    calls = {place: next(steps) for place, steps in enumerate(many)}
    results: dict[int, T] = {}
    while calls:
        place = rng.choice(list(calls))
        reply = ledger.executor._call(calls[place])
        try:
            calls[place] = many[place].send(reply)
        except StopIteration as stop:
            results[place] = stop.value
            del calls[place]
    return [results[place] for place in range(len(many))]


def raw_submit(seen: Snapshot, submission_id: str, digest: str = "d") -> Submit:
    """Return a submission's event without the intake's keys around it."""
    return Submit(
        submission_id=submission_id, kind=SolutionKind.CODE, digest=digest, run_id=seen.run_id
    )


def race_violations(
    ledger: LedgerFixture, ids: Sequence[str], heard: Sequence[tuple[str, dict[str, Any]]]
) -> list[str]:
    """Return what is wrong after racing submissions of one intent; empty if nothing."""
    records = {name: ledger.record(name) for name in ids}
    wrong = [f"{name}: no record" for name, record in records.items() if record is None]
    known = {name: record for name, record in records.items() if record is not None}
    published = [content["submission_id"] for channel, content in heard if channel == RESULTS]
    logged = [content["submission_id"] for content in ledger.stream()]
    for name, record in known.items():
        times = int(record.is_final)
        if published.count(name) != times:
            wrong.append(f"{name}: published {published.count(name)} times")
        if logged.count(name) != times:
            wrong.append(f"{name}: in the stream {logged.count(name)} times")
        successor = known.get(record.superseded_by or "")
        if record.is_final and (successor is None or successor.supersedes != name):
            wrong.append(f"{name}: points to no successor of its own")
    unsettled = [name for name, record in known.items() if not record.is_final]
    current = ledger.intent().current
    if current is None or unsettled != [current.id]:
        wrong.append(f"unsettled: {unsettled}, current: {current and current.id}")
    if ledger.intent().seq != len(ids):
        wrong.append(f"{len(ids)} submissions, but seq is {ledger.intent().seq}")
    return wrong


RESULTS = "checkpoint:results"
