"""Acceptance of intents and submissions: one commit each, within the limits on new work.

A refusal raises `CheckpointError` and stores nothing. An accepted submission has a record from then
on, even if it is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY, ProviderFailure, check_code
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Decision, DecisionStatus, Open, Submit
from checkpoint_worker.tasks.model import Intent, IntentState, Settlement
from checkpoint_worker.tasks.operations.validation import (
    CheckpointError,
    Sealed,
    SubmissionRequest,
    unknown_submission,
)
from checkpoint_worker.tasks.operations.wake import wake_message
from checkpoint_worker.tasks.records import Outcome, RecordState, waiting_record
from checkpoint_worker.tasks.rules import HOUR_MS
from checkpoint_worker.tasks.storage.executor import Operation
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.store import SEEN_TTL_MS, SOLUTION_GRACE_MS, Store
from checkpoint_worker.tasks.storage.vault import Vault, context_name, solution_name
from checkpoint_worker.tasks.storage.views import Snapshot

AGED_SHARE: Final = 10
"""The queue is too slow once one in this many submissions has waited too long."""
FULL_AGAIN_S: Final = 30
"""``Retry-After`` of a ledger that is nearly full."""
BUSY_AGAIN_S: Final = 2
"""``Retry-After`` of a queue that is full or too slow."""


def open_steps(store: Store, vault: Vault, event: Open, secrets: Sealed) -> Operation[Intent]:
    """Open an intent, or open it again as a new generation; return it after the commit."""
    provider, account_id = event.provider, event.account_id
    text = vault.seal(context_name(provider, account_id), secrets.to_bytes())
    opened = _Hourly(store.keys.opened(provider, account_id), store.room.opens_max)

    def make_event(snapshot: Snapshot) -> Open:
        _check_memory(store, snapshot)
        opened.check(snapshot, "Opened too often in an hour")
        return event

    def extra(snapshot: Snapshot, _decision: Decision) -> CommitExtras:
        return CommitExtras(
            put=(
                (store.keys.context(provider, account_id), text, store.context_ttl_ms),
                opened.count(snapshot),
            ),
            expect=opened.unchanged(snapshot),
            intake=True,
            # A session that was not taken belongs to the previous generation.
            delete=(
                store.keys.session(provider, account_id),
                store.keys.taken(provider, account_id),
            ),
        )

    result = yield from store.transact(
        provider,
        account_id,
        make_event,
        make_extra=extra,
        also=(opened.key,),
        queue_age_ms=0,
    )
    assert result is not None
    assert result.intent is not None
    return result.intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A submission that the ledger knows.

    Attributes:
        id: Submission id and Celery task id.
        outcome: Its record after this call; final if it was refused at once.
        accepted: Whether this call accepted it; false for an id that was known before.
        woken: Whether the commit that accepted it also sent the Celery message.
    """

    id: str
    outcome: Outcome
    accepted: bool
    woken: bool = False

    @property
    def needs_notification(self) -> bool:
        """Whether the caller has to send a Celery message."""
        return self.accepted and not self.woken and not self.outcome.is_final


@dataclass(slots=True, repr=False)
class Acceptance:
    """The acceptance of one submission: one commit makes it current and settles the previous one.

    Attributes:
        store: The ledger.
        vault: Seals the code.
        request: The validated request.
        submission_id: The id of the submission.
        step: The checkpoint step that the code answers, if the caller knows it.
        wakes: Send the Celery message with the commit, where the queue is in the same Redis.
        known: The record of the submission id, if it was accepted before.
    """

    store: Store
    vault: Vault
    request: SubmissionRequest
    submission_id: str
    step: int | None = None
    wakes: bool = False
    known: Outcome | None = None

    def steps(self) -> Operation[Submitted]:
        """Read, decide and commit.

        Raises:
            CheckpointError: Nothing was stored: 400, or 503 because the queue, the ledger's memory
                or the account's submissions are at their limit.
        """
        result = yield from self.store.transact(
            self.request.provider,
            self.request.account_id,
            self._event,
            make_extra=self._extras,
            submission_id=self.submission_id,
            also=(self.seen_key, self.refused.key),
            queue_age_ms=self.store.room.queue_age_ms,
        )
        if result is None:
            assert self.known is not None
            return Submitted(id=self.submission_id, outcome=self.known, accepted=False)
        _check_reply(result, self.submission_id)
        outcome = _own_record(result, self.request, self.submission_id)
        woken = self.wakes and self.store.has_queue
        return Submitted(id=self.submission_id, outcome=outcome, accepted=True, woken=woken)

    @property
    def seen_key(self) -> str:
        """The key that remembers the submission id."""
        return self.store.keys.seen(self.submission_id)

    @property
    def refused(self) -> _Hourly:
        """The count of the account's submissions that no open login takes."""
        key = self.store.keys.refused(self.request.provider, self.request.account_id)
        return _Hourly(key, self.store.room.refused_max)

    def _event(self, snapshot: Snapshot) -> Submit | None:
        """Return the event, or ``None`` if the id has a record.

        Raises:
            CheckpointError: The id belongs to another submission, or there is no room.
        """
        request = self.request
        if snapshot.record is not None:
            self.known = _same_submission(snapshot.record, request, self.submission_id)
            return None
        if snapshot.values[self.seen_key] is not None:
            msg = "This submission id was used before; use a new one."
            raise CheckpointError(catalogue.INVALID_REQUEST, msg, self.submission_id)
        _check_memory(self.store, snapshot, self.submission_id)
        _check_queue(self.store, snapshot, self.submission_id)
        code = _fit_code(snapshot.intent, request, self.submission_id)
        return Submit(
            submission_id=self.submission_id,
            kind=request.kind,
            digest=self.vault.digest(request.provider, request.account_id, code),
            run_id=snapshot.run_id,
            step=self.step,
            send_by_ms=request.send_by_ms,
        )

    def _extras(self, snapshot: Snapshot, decision: Decision) -> CommitExtras:
        """Return the id, and the sealed code with its message or the count of refusals.

        Raises:
            CheckpointError: The account has had too many refusals in an hour.
        """
        store, provider, account_id = self.store, self.request.provider, self.request.account_id
        put = [(self.seen_key, store.keys.member(provider, account_id), SEEN_TTL_MS)]
        expect = {store.keys.result(self.submission_id): "", self.seen_key: ""}
        wakes: tuple[str, ...] = ()
        if decision.queued is not None:
            code = _fit_code(snapshot.intent, self.request, self.submission_id)
            name = solution_name(provider, account_id, self.submission_id)
            life_ms = store.limits.deadline_ms + SOLUTION_GRACE_MS
            sealed = self.vault.seal(name, code.encode())
            put.append((store.keys.solution(self.submission_id), sealed, life_ms))
            if self.wakes and store.has_queue:
                wakes = (wake_message(store.keys.queue, self.submission_id, account_id, provider),)
        else:
            refused = self.refused
            refused.check(
                snapshot, "Too many submissions without an open login", self.submission_id
            )
            put.append(refused.count(snapshot))
            expect |= refused.unchanged(snapshot)
        return CommitExtras(put=tuple(put), expect=expect, wakes=wakes, intake=True)


class _Hourly:
    """An hourly count of one action for an account, from its first occurrence.

    The commit of the action also writes the count, and requires the count that was read.
    """

    def __init__(self, key: str, most: int) -> None:
        self.key, self._most = key, most

    def _of(self, snapshot: Snapshot) -> tuple[int, int]:
        """Return the beginning of the hour and the count."""
        began_ms, _, count = (snapshot.values[self.key] or "").partition(" ")
        if began_ms.isdigit() and count.isdigit() and snapshot.now_ms < int(began_ms) + HOUR_MS:
            return int(began_ms), int(count)
        return snapshot.now_ms, 0

    def check(self, snapshot: Snapshot, what: str, submission_id: str | None = None) -> None:
        """Refuse the action if the count is at its limit.

        Raises:
            CheckpointError: 503, with the time until the hour is over.
        """
        began_ms, count = self._of(snapshot)
        if count >= self._most:
            msg = f"{what} for this account; nothing was stored."
            raise _too_many(msg, submission_id, began_ms + HOUR_MS - snapshot.now_ms)

    def count(self, snapshot: Snapshot) -> tuple[str, str, int]:
        """Return the key, the value and the life (ms) that the commit writes."""
        began_ms, count = self._of(snapshot)
        return self.key, f"{began_ms} {count + 1}", began_ms + HOUR_MS - snapshot.now_ms

    def unchanged(self, snapshot: Snapshot) -> dict[str, str]:
        """Return the value that the commit requires."""
        return {self.key: snapshot.values[self.key] or ""}


def _check_memory(store: Store, snapshot: Snapshot, submission_id: str | None = None) -> None:
    """Refuse new entries when memory is nearly full, so that outcomes can still be written."""
    if snapshot.filled >= store.room.filled_max:
        msg = "The ledger's memory is nearly full; nothing was stored, try again later."
        again_s = FULL_AGAIN_S
        raise CheckpointError(catalogue.UNAVAILABLE, msg, submission_id, retry_after_s=again_s)


def _same_submission(record: Outcome, request: SubmissionRequest, submission_id: str) -> Outcome:
    if (record.account_id, record.provider) == (request.account_id, request.provider):
        return record
    msg = "This submission id belongs to another account or provider."
    raise CheckpointError(catalogue.INVALID_REQUEST, msg, submission_id)


def _check_queue(store: Store, snapshot: Snapshot, submission_id: str) -> None:
    """Refuse a submission that would wait until its code is stale; the caller may retry."""
    if snapshot.queued >= store.room.queue_max:
        msg = "Too many submissions are waiting; nothing was stored, try again in a moment."
    elif snapshot.aged * AGED_SHARE >= snapshot.queued > 0:
        msg = "Submissions wait too long; nothing was stored, try again in a moment."
    else:
        return
    raise CheckpointError(catalogue.UNAVAILABLE, msg, submission_id, retry_after_s=BUSY_AGAIN_S)


def _fit_code(intent: Intent | None, request: SubmissionRequest, submission_id: str) -> str:
    """Return the code as it is sent; refuse one that cannot be right, for each code costs a try.

    For an intent that accepts no code any more, the rules give the answer.
    """
    adapter = adapter_for(request.provider)
    if intent is None or intent.state is not IntentState.OPEN or adapter is None:
        return request.code
    try:
        return check_code(request.code, adapter.code_formats.get(intent.checkpoint.source or ""))
    except ProviderFailure as failure:
        pair = catalogue.pair(failure.status, failure.type)
        raise CheckpointError(pair, failure.detail, submission_id) from None


def _check_reply(result: Result, submission_id: str) -> None:
    reply, intent, now_ms = result.decision.reply, result.intent, result.now_ms
    if reply is DecisionStatus.WRONG_STEP:
        msg = "The checkpoint has moved on to another step than the one this code answers."
        raise CheckpointError(catalogue.INVALID_REQUEST, msg, submission_id)
    if reply is DecisionStatus.TOO_MANY_WAYS:
        msg = f"{TRY_ANOTHER_WAY} was sent too often for this login."
        raise CheckpointError(catalogue.INVALID_REQUEST, msg, submission_id)
    if reply is DecisionStatus.TOO_MANY_HERE:
        assert intent is not None
        msg = "Too many submissions for this login; nothing was stored. Start it again later."
        raise _too_many(msg, submission_id, intent.expires_at_ms - now_ms)
    if reply is DecisionStatus.TOO_MANY_THIS_HOUR:
        assert intent is not None
        msg = "Too many submissions for this account in an hour; nothing was stored."
        raise _too_many(msg, submission_id, intent.hour_from_ms + HOUR_MS - now_ms)


def _too_many(msg: str, submission_id: str | None, left_ms: int) -> CheckpointError:
    left_s = max(1, -(-left_ms // 1000))
    return CheckpointError(catalogue.UNAVAILABLE, msg, submission_id, retry_after_s=left_s)


def _own_record(result: Result, request: SubmissionRequest, submission_id: str) -> Outcome:
    for record in result.records:
        if record.submission_id == submission_id:
            return record
    queued, intent = result.decision.queued, result.intent
    assert queued is not None
    assert intent is not None
    return waiting_record(request.account_id, request.provider, intent, queued, RecordState.QUEUED)


def refuse_steps(
    store: Store, error: CheckpointError, submission_id: str, account_id: str, provider: str
) -> Operation[bool]:
    """Write the final record of a raw producer's submission that was refused.

    Such a producer has no other way to receive the refusal. Names that are not Unicode text,
    which may be the reason for the refusal, are stored with replacement characters.

    Returns:
        Whether it was written; an id that was used before already has its outcome.
    """
    account_id, provider = (
        name.encode(errors="replace").decode() for name in (account_id, provider)
    )
    snapshot_ms, record = yield from store.record(submission_id)
    if record is not None:
        return False
    submission = unknown_submission(submission_id, snapshot_ms)
    settlement = Settlement(
        submission=submission,
        answer=error.pair,
        code_sent=False,
        detail=str(error.body["detail"]),
    )
    return (yield from store.settle_orphan(provider, account_id, settlement, is_new=True))
