"""Validation of requests, and the operations that open an intent or accept a submission.

The clients, the gateway and, for plain Celery producers, the worker use it. A refusal before
acceptance raises `CheckpointError` and stores nothing; an accepted submission has a record from
then on, even if it is refused at once.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from checkpoint_worker.providers import LIVE_SESSION, adapter_for
from checkpoint_worker.providers.contract import (
    TOLD_RULE,
    TRY_ANOTHER_WAY,
    Checkpoint,
    Context,
    ProviderFailure,
    SolutionKind,
    check_code,
    fold,
)
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Pair
from checkpoint_worker.tasks.events import Decision, DecisionStatus, Open, Submit
from checkpoint_worker.tasks.model import Intent, IntentState, Purpose, Seq, Settlement, Submission
from checkpoint_worker.tasks.operations.wake import wake_message
from checkpoint_worker.tasks.records import Outcome, RecordState, waiting_record
from checkpoint_worker.tasks.rules import HOUR_MS
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import Operation
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.store import SEEN_TTL_MS, SOLUTION_GRACE_MS, Store
from checkpoint_worker.tasks.storage.vault import Vault, context_name, solution_name
from checkpoint_worker.tasks.storage.views import Snapshot

ACCOUNT_ID_MAX: Final = 256
CODE_MAX: Final = 256
USER_ID_MAX: Final = 256
WORD_MAX: Final = 64
"""Longest ``type`` or ``source`` of a checkpoint, in characters."""
FIELDS_NAMED: Final = 8
"""Number of invalid fields that a refusal names."""
FIELD_NAME_MAX: Final = 80
"""Characters of each field's name in a refusal: the caller chooses the names."""
SUBMISSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
AGED_SHARE: Final = 10
"""The queue is too slow once one in this many submissions has waited too long."""
CONTEXT_BYTES_MAX: Final = 65_536
"""Longest challenge context, as JSON in UTF-8."""
CONTEXT_LEVELS_MAX: Final = 16
CONTEXT_ENTRIES_MAX: Final = 256
"""Entries of one list or object of a challenge context; validation takes time for each."""
CONTEXT_VALUES_MAX: Final = 4_096
"""Values in a whole challenge context."""
FULL_AGAIN_S: Final = 30
"""``Retry-After`` of a ledger that is nearly full."""
BUSY_AGAIN_S: Final = 2
"""``Retry-After`` of a queue that is full or too slow."""
JSON_VALUE_BYTES: Final = 4
"""Bytes that a value of a context needs in JSON beside its text: quotes, comma and colon."""
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class CheckpointError(Exception):
    """A request was refused before anything was stored.

    Attributes:
        pair: The error of the catalogue.
        status: HTTP status for the web backend's answer.
        body: JSON body for it.
        retry_after_s: For a 503, the whole seconds after which a retry may succeed.
    """

    def __init__(
        self,
        pair: Pair,
        detail: str | None = None,
        instance: str | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        self.pair = pair
        self.status = pair.status
        self.body = catalogue.error_body(pair, instance or new_id("req"), detail)
        super().__init__(f"{pair.status} {pair.type}: {self.body['detail']}")


def new_id(kind: str = "sub") -> str:
    """Return an id that sorts by time: ``sub_`` and a ULID."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    digits = (CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
    return f"{kind}_{''.join(digits)}"


# Validation ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRequest:
    """A well-formed request: account, provider and the trimmed solution.

    Attributes:
        send_by_ms: Instant at which the sender gives it up, if that is before the deadline.
    """

    account_id: str
    provider: str
    code: str = field(repr=False)
    send_by_ms: int | None = None

    @property
    def kind(self) -> SolutionKind:
        """Whether the solution is a code or asks for another way."""
        another = self.code == TRY_ANOTHER_WAY
        return SolutionKind.ANOTHER_WAY if another else SolutionKind.CODE


def read_request(
    settings: Settings, account_id: object, provider: object, code: object
) -> SubmissionRequest:
    """Check the form of a request.

    Raises:
        CheckpointError: The 400 that fits, or 403 ``feature_not_subscribed``.
    """
    account, name = read_account(settings, account_id, provider)
    text = _text("code", code).strip()
    if len(text) > CODE_MAX:
        msg = f"`code` has more than {CODE_MAX} characters."
        raise CheckpointError(catalogue.TOO_MANY_CHARACTERS, msg)
    _no_controls("code", text)
    if not (text := fold(text)):
        _refuse_form("`code` is empty.")
    return SubmissionRequest(account_id=account, provider=name, code=text)


def read_account(settings: Settings, account_id: object, provider: object) -> tuple[str, str]:
    """Check account and provider; return ``(account_id, provider)``.

    Raises:
        CheckpointError: As `read_request`.
    """
    account, name = _text("account_id", account_id), _text("provider", provider)
    if not 0 < len(account) <= ACCOUNT_ID_MAX:
        _refuse_form(f"`account_id` must have 1 to {ACCOUNT_ID_MAX} characters.")
    _no_controls("account_id", account)
    if adapter_for(name) is None:
        _refuse_form("`provider` is none that is known here; see `checkpoint config`.")
    if name not in settings.providers:
        raise CheckpointError(catalogue.FEATURE_NOT_SUBSCRIBED)
    return account, name


def read_submission_id(submission_id: object) -> str:
    """Return a submission id given by the caller, or a new one for ``None``.

    Raises:
        CheckpointError: It is not 1-128 of ``A-Za-z0-9_-``.
    """
    if submission_id is None:
        return new_id()
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse_form("A submission id has 1 to 128 of the characters A-Z a-z 0-9 _ -.")
    return submission_id


def _text(name: str, value: object) -> str:
    if value is None:
        raise CheckpointError(catalogue.MISSING_PARAMETERS, f"`{name}` is missing.")
    if not isinstance(value, str):
        _refuse_form(f"`{name}` must be a string.")
    return value


def _no_controls(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse_form(f"`{name}` is not valid Unicode text.")
    # `isprintable` is the quick test; some characters that are not printable are no controls.
    if not value.isprintable() and any(unicodedata.category(char) == "Cc" for char in value):
        _refuse_form(f"`{name}` holds control characters.")


def _refuse_form(detail: str) -> NoReturn:
    raise CheckpointError(catalogue.INVALID_PARAMETERS, detail) from None


# Opening -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An intent's secrets, which the vault seals."""

    context: Mapping[str, object] = field(repr=False)
    proxy: str | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        return json.dumps({"context": self.context, "proxy": self.proxy}).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Sealed:
        """Read the bytes that `to_bytes` returned."""
        return cls(**json.loads(raw))


def read_context(provider: str, context: object, *, routes_off: Collection[str] = ()) -> Context:
    """Check a challenge context against its adapter's model.

    Args:
        provider: A provider that `read_account` has accepted.
        context: The caller's value.
        routes_off: `Settings.routes_off`, each ``PROVIDER/route``.

    Raises:
        CheckpointError: 400 ``invalid_parameters`` that names the fields, never a value; 403
            ``feature_not_subscribed`` for a route that is off.
    """
    if not isinstance(context, Mapping):
        _refuse_form("`context` must be an object.")
    _check_size(context)
    route = str(context.get("route", "http"))
    adapter = adapter_for(provider, route)
    model = adapter.contexts.get(route) if adapter is not None else None
    if model is None:
        names = ", ".join([*(adapter.contexts if adapter is not None else ()), LIVE_SESSION])
        _refuse_form(f"`context.route` is none that {provider} has; there are {names}.")
    if f"{provider}/{route}" in routes_off:
        msg = "This route is switched off here (CHECKPOINT_ROUTES_OFF)."
        raise CheckpointError(catalogue.FEATURE_NOT_SUBSCRIBED, msg)
    try:
        return model.model_validate(context)
    except ValidationError as error:
        told = {
            item["loc"]: _rule(model, item)
            for item in error.errors(include_input=False, include_url=False)
        }
        fields = "; ".join(
            ".".join(map(str, ("context", *loc)))[:FIELD_NAME_MAX] + told[loc]
            for loc in sorted(told, key=str)[:FIELDS_NAMED]
        )
        _refuse_form(f"These fields of the challenge context do not fit: {fields}.")


def _rule(model: type[Context], item: ErrorDetails) -> str:
    """Return the rule that a field breaks, in a text that quotes nothing of the caller's."""
    if item["type"] == TOLD_RULE:
        return f" {item['msg']}"
    known = model.model_fields.get(str(item["loc"][0])) if len(item["loc"]) == 1 else None
    if item["type"] == "missing" and known is not None and known.description:
        return f" is missing: {known.description.rstrip('.')}"
    return ""


def _check_size(context: Mapping[object, object]) -> None:
    """Refuse a context that is too large, before any step whose cost grows with its values.

    Raises:
        CheckpointError: 400 ``invalid_parameters`` that names the field and the rule.
    """
    level: list[tuple[str, object]] = [("context", context)]
    left, size = CONTEXT_VALUES_MAX, 0
    for _ in range(CONTEXT_LEVELS_MAX):
        inner: list[tuple[str, object]] = []
        for name, value in level:
            if isinstance(value, str):
                size += _utf8_size(value, CONTEXT_BYTES_MAX - size)
            elif isinstance(value, Mapping | list | tuple | set | frozenset):
                if len(value) > CONTEXT_ENTRIES_MAX:
                    msg = f"`{name}` has more than {CONTEXT_ENTRIES_MAX} entries: {_LEAVE_OUT}"
                    _refuse_form(msg)
                keys = value if isinstance(value, Mapping) else ()
                size += sum(_utf8_size(str(key), CONTEXT_BYTES_MAX) for key in keys)
                named = value.items() if isinstance(value, Mapping) else ((name, v) for v in value)
                inner += (
                    (f"context.{str(key)[:FIELD_NAME_MAX]}" if name == "context" else name, each)
                    for key, each in named
                )
            size += JSON_VALUE_BYTES
        left -= len(inner)
        if left < 0:
            _refuse_form(f"`context` has more than {CONTEXT_VALUES_MAX:,} values: {_LEAVE_OUT}")
        if size > CONTEXT_BYTES_MAX:
            _refuse_form(f"`context` is over {CONTEXT_BYTES_MAX:,} bytes as JSON: {_LEAVE_OUT}")
        if not inner:
            return
        level = inner
    msg = f"`context` is nested more than {CONTEXT_LEVELS_MAX} levels deep: {_LEAVE_OUT}"
    _refuse_form(msg)


_LEAVE_OUT: Final = "leave out what the adapter's model does not name and cookies of other hosts."


def _utf8_size(text: str, most: int) -> int:
    """Return a text's length in UTF-8, or in characters if those alone exceed ``most``."""
    return len(text) if len(text) > most else len(text.encode(errors="replace"))


def read_checkpoint(checkpoint: object) -> Checkpoint:
    """Check a checkpoint: ``type`` and, where it has one, ``source``.

    Raises:
        CheckpointError: The 400 that fits.
    """
    if not isinstance(checkpoint, Mapping):
        _refuse_form("`checkpoint` must be an object with `type` and `source`.")
    type_, source = checkpoint.get("type"), checkpoint.get("source")
    if type_ is None:
        raise CheckpointError(catalogue.MISSING_PARAMETERS, "`checkpoint.type` is missing.")
    for name, word in (("type", type_), ("source", source)):
        if word is not None and not (isinstance(word, str) and 0 < len(word) <= WORD_MAX):
            _refuse_form(f"`checkpoint.{name}` must be a short string.")
        _no_controls(f"checkpoint.{name}", word or "")
    return Checkpoint(type=type_, source=source)


def read_user_id(user_id: object) -> str | None:
    """Check the provider's id that the account must have, if one is given.

    Raises:
        CheckpointError: 400 ``invalid_parameters``.
    """
    if user_id is None:
        return None
    text = _text("user_id", user_id)
    if not 0 < len(text) <= USER_ID_MAX:
        _refuse_form(f"`user_id` must have 1 to {USER_ID_MAX} characters.")
    _no_controls("user_id", text)
    return text


def read_step(step: object) -> int | None:
    """Check the number of the checkpoint step that a code answers, if one is given.

    Raises:
        CheckpointError: 400 ``invalid_parameters``.
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
        _refuse_form("`checkpoint_step` must be an integer.")
    return step


def open_steps(
    store: Store,
    vault: Vault,
    *,
    account_id: str,
    provider: str,
    checkpoint: Checkpoint,
    sealed: Sealed,
    purpose: Purpose,
    user_id: str | None,
) -> Operation[Intent]:
    """Open an intent, or open it again as a new generation; return it after the commit."""
    event = Open(
        account_id=account_id,
        provider=provider,
        checkpoint=checkpoint,
        purpose=purpose,
        user_id=user_id,
    )
    text = vault.seal(context_name(provider, account_id), sealed.to_bytes())
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


# Submitting ----------------------------------------------------------------------------


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


def submit_steps(
    store: Store,
    vault: Vault,
    request: SubmissionRequest,
    submission_id: str,
    *,
    queue_max: int,
    queue_age_ms: int,
    step: int | None = None,
    wakes: bool = False,
) -> Operation[Submitted]:
    """Accept a submission: one commit makes it current and settles the previous one.

    Args:
        store: The ledger.
        vault: Seals the code.
        request: The validated request.
        submission_id: The id of the submission.
        queue_max: How many submissions may wait for an attempt.
        queue_age_ms: Age at which a waiting submission is too old; once a tenth of those that
            wait have it, new ones are refused.
        step: The checkpoint step that the code answers, if the caller knows it.
        wakes: Send the Celery message with the commit, where the queue is in the same Redis.

    Raises:
        CheckpointError: Nothing was stored: 400, or 503 because the queue, the ledger's memory or
            the account's submissions are at their limit.
    """
    provider, account_id = request.provider, request.account_id
    seen_key = store.keys.seen(submission_id)
    owner = store.keys.member(provider, account_id)
    known: list[Outcome] = []
    code = request.code
    refused = _Hourly(store.keys.refused(provider, account_id), store.room.refused_max)
    in_commit = wakes and store.has_queue

    def event(snapshot: Snapshot) -> Submit | None:
        nonlocal code
        if snapshot.record is not None:
            known.append(_same_submission(snapshot.record, request, submission_id))
            return None
        if snapshot.values[seen_key] is not None:
            msg = "This submission id was used before; use a new one."
            raise CheckpointError(catalogue.INVALID_REQUEST, msg, submission_id)
        _check_memory(store, snapshot, submission_id)
        _check_room(snapshot, queue_max, submission_id)
        code = _fit_code(snapshot.intent, request, submission_id)
        return Submit(
            submission_id=submission_id,
            kind=request.kind,
            digest=vault.digest(provider, account_id, code),
            run_id=snapshot.run_id,
            step=step,
            send_by_ms=request.send_by_ms,
        )

    def extra(snapshot: Snapshot, decision: Decision) -> CommitExtras:
        put = [(seen_key, owner, SEEN_TTL_MS)]
        if decision.queued is not None:
            sealed = vault.seal(solution_name(provider, account_id, submission_id), code.encode())
            life_ms = store.limits.deadline_ms + SOLUTION_GRACE_MS
            put.append((store.keys.solution(submission_id), sealed, life_ms))
        expect = {store.keys.result(submission_id): "", seen_key: ""}
        if decision.queued is None:
            refused.check(snapshot, "Too many submissions without an open login", submission_id)
            put.append(refused.count(snapshot))
            expect |= refused.unchanged(snapshot)
        messages: tuple[str, ...] = ()
        if in_commit and decision.queued is not None:
            messages = (wake_message(store.keys.queue, submission_id, account_id, provider),)
        return CommitExtras(put=tuple(put), expect=expect, wakes=messages, intake=True)

    result = yield from store.transact(
        provider,
        account_id,
        event,
        make_extra=extra,
        submission_id=submission_id,
        also=(seen_key, refused.key),
        queue_age_ms=queue_age_ms,
    )
    if result is None:
        return Submitted(id=submission_id, outcome=known[-1], accepted=False)
    _check_reply(result, submission_id)
    outcome = _own_record(result, provider, account_id, submission_id)
    return Submitted(id=submission_id, outcome=outcome, accepted=True, woken=in_commit)


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


def _check_room(snapshot: Snapshot, queue_max: int, submission_id: str) -> None:
    """Refuse a submission that would wait until its code is stale; the caller may retry."""
    if snapshot.queued >= queue_max:
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


def _own_record(result: Result, provider: str, account_id: str, submission_id: str) -> Outcome:
    for record in result.records:
        if record.submission_id == submission_id:
            return record
    queued, intent = result.decision.queued, result.intent
    assert queued is not None
    assert intent is not None
    return waiting_record(account_id, provider, intent, queued, RecordState.QUEUED)


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


def unknown_submission(submission_id: str, queued_at_ms: int, seq: int = 0) -> Submission:
    """Return the submission for an id that no intent knows."""
    return Submission(
        id=submission_id,
        seq=Seq(seq),
        step=0,
        kind=SolutionKind.CODE,
        digest="",
        run_id="",
        queued_at_ms=queued_at_ms,
        deadline_ms=queued_at_ms,
    )
