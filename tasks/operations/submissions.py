"""The operations of both clients, written once and run by a blocking or an awaiting executor.

Reading needs no worker: the reader settles a record that is overdue.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from checkpoint_worker.providers.contract import Checkpoint, ProviderFailure
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Cancel, DecisionStatus, Kill, Open
from checkpoint_worker.tasks.model import (
    Intent,
    IntentState,
    Purpose,
    Settlement,
    Submission,
    replace,
)
from checkpoint_worker.tasks.operations.acceptance import Acceptance, Submitted, open_steps
from checkpoint_worker.tasks.operations.validation import (
    SUBMISSION_ID,
    CheckpointError,
    Sealed,
    SubmissionRequest,
    read_account,
    read_checkpoint,
    read_context,
    read_request,
    read_step,
    read_submission_id,
    read_user_id,
    unknown_submission,
)
from checkpoint_worker.tasks.operations.wake import in_ledger
from checkpoint_worker.tasks.records import Outcome, timestamp
from checkpoint_worker.tasks.rules import DETAIL_MAYBE_USED
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.base import Room
from checkpoint_worker.tasks.storage.executor import (
    ForeignLedgerError,
    LedgerBusyError,
    LedgerError,
    LedgerUnavailableError,
    Operation,
)
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.vault import CannotOpenError, Vault, session_name

LIMIT_MAX: Final = 1_000
BEYOND_DEADLINE_S: Final = 5.0
"""Time after its deadline by which every submission has its outcome."""
READER_SETTLES_AFTER_MS: Final = 1_000
"""Time after the deadline from which a reader settles a record that is not final."""
ABANDONED_MS: Final = 60_000
"""Time after which a record that a group's reader holds goes to the next reader."""
READER_MAX: Final = 128
RETRY_S: Final = 1
"""``Retry-After`` of a ledger that did not answer."""


class IntentInfo(BaseModel):
    """An intent as its owner may see it. Carries no secret."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    provider: str
    purpose: Purpose
    state: IntentState
    generation: int
    checkpoint: Mapping[str, str | None]
    checkpoint_step: int
    failures: int
    failures_left: int
    faults: int
    opened_at: datetime
    expires_at: datetime
    current: str | None = Field(description="The submission without an outcome, if any.")
    busy: bool = Field(description="Whether an exchange with the provider may be running.")


def make_store(settings: Settings) -> Store:
    """Return the ledger that these settings describe."""
    return Store(
        keys=Keys(settings.prefix),
        limits=settings.limits,
        result_ttl_ms=round(settings.result_ttl_s * 1000),
        outcomes_max=settings.outcomes_max,
        embedded=settings.embedded,
        room=Room(
            filled_max=round(settings.memory_share_max * 1000),
            opens_max=settings.hourly_opens_max,
            refused_max=settings.hourly_refused_max,
            queue_max=settings.queue_max,
            queue_age_ms=settings.queue_age_max_ms,
        ),
        has_queue=in_ledger(settings),
    )


def make_vault(settings: Settings) -> Vault:
    """Return the vault that these settings describe.

    Raises:
        BadKeyError: There is no usable key; the message says how to make one.
    """
    return Vault([key.get_secret_value() for key in settings.secret_keys])


class Operations:
    """The operations of both clients."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = make_store(settings)
        self.vault = make_vault(settings)
        self._token = ""

    @property
    def token(self) -> str:
        """This process' name for taking sessions and reading for groups, made at the first use."""
        if not self._token:
            self._token = secrets.token_hex(16)
        return self._token

    def forget_token(self) -> None:
        """Discard the token, so that the next use makes another."""
        self._token = ""

    def open_intent(
        self,
        *,
        account_id: object,
        provider: object,
        checkpoint: object,
        context: object,
        proxy: object = None,
        purpose: object = "connect",
        user_id: object = None,
    ) -> Operation[IntentInfo]:
        """Check every argument, then open the intent."""
        account, name = read_account(self.settings, account_id, provider)
        expected = read_user_id(user_id)
        if purpose not in list(Purpose):
            msg = "`purpose` is `connect` or `reconnect`."
            raise CheckpointError(catalogue.INVALID_PARAMETERS, msg)
        if context is None:
            raise CheckpointError(catalogue.MISSING_PARAMETERS, "`context` is missing.")
        event = Open(
            account_id=account,
            provider=name,
            checkpoint=read_checkpoint(checkpoint),
            purpose=Purpose(str(purpose)),
            user_id=expected,
        )
        off = self.settings.routes_off
        held = read_context(name, context, checkpoint=event.checkpoint, routes_off=off)
        sealed = Sealed(context=held.as_json(), proxy=_read_proxy(self.settings, proxy))
        intent = yield from open_steps(self.store, self.vault, event, sealed)
        return _info(intent)

    def read_submission(
        self, account_id: object, provider: object, code: object, submission_id: object
    ) -> tuple[SubmissionRequest, str]:
        """Check account, provider, code and submission id."""
        request = read_request(self.settings, account_id, provider, code)
        return request, read_submission_id(submission_id)

    def submit(
        self, request: SubmissionRequest, submission_id: str, step: int | None
    ) -> Operation[Submitted]:
        """Accept a submission."""
        step = read_step(step)
        return Acceptance(self.store, self.vault, request, submission_id, step, wakes=True).steps()

    def result(self, submission_id: str) -> Operation[Outcome | None]:
        """Read a record; settle it first if it is overdue."""
        return (yield from self.look(submission_id))[0]

    def look(self, submission_id: str) -> Operation[tuple[Outcome | None, float]]:
        """Read a record as `result` does; return also the seconds until it is overdue."""
        if not _is_id(submission_id):
            return None, 0.0
        now_ms, record = yield from self.store.record(submission_id)
        if record is None or record.is_final:
            return record, 0.0
        left_ms = self._left_ms(record, now_ms)
        if left_ms >= 0:
            return record, (left_ms + 1) / 1000
        # Heartbeat answers would free wires sooner, but that is the sweep's task: without them a
        # backend needs no right to read the workers' heartbeats.
        yield from self.store.tick(record.provider, record.account_id, acked={})
        now_ms, record = yield from self.store.record(submission_id)
        if record is None or record.is_final:
            return record, 0.0
        # The intent does not know this submission: Redis lost its last writes.
        settlement = Settlement(
            submission=_as_told(submission_id, record),
            answer=catalogue.TIMED_OUT,
            code_sent=True,
            detail=DETAIL_MAYBE_USED,
        )
        yield from self.store.settle_orphan(
            record.provider, record.account_id, settlement, record.generation
        )
        return (yield from self.store.record(submission_id))[1], READER_SETTLES_AFTER_MS / 1000

    def _left_ms(self, record: Outcome, now_ms: int) -> int:
        """Return the time until a record is overdue, by Redis time."""
        if record.queued_at is None:
            return self.store.limits.deadline_ms
        due_ms = _at_ms(record.queued_at) + self.store.limits.deadline_ms + READER_SETTLES_AFTER_MS
        return due_ms - now_ms

    def cancel(self, submission_id: str) -> Operation[Outcome | None]:
        """Cancel a submission."""
        if not _is_id(submission_id):
            return None
        _, record = yield from self.store.record(submission_id)
        if record is None or record.is_final:
            return record
        yield from self.store.transact(
            record.provider, record.account_id, lambda _: Cancel(submission_id=submission_id)
        )
        return (yield from self.store.record(submission_id))[1]

    def intent(self, account_id: object, provider: object) -> Operation[IntentInfo | None]:
        """Read an intent."""
        account, name = read_account(self.settings, account_id, provider)
        snapshot = yield from self.store.read(name, account, needs_master=True)
        return _info(snapshot.intent) if snapshot.intent else None

    def kill_intent(self, account_id: object, provider: object) -> Operation[IntentInfo | None]:
        """End an intent."""
        account, name = read_account(self.settings, account_id, provider)
        # If there is no intent, no commit follows that would refuse a replica.
        yield from self.store.read(name, account, needs_master=True)
        result = yield from self.store.transact(name, account, lambda _: Kill())
        assert result is not None
        if result.decision.reply is DecisionStatus.STOP:
            return _info(result.snapshot.intent) if result.snapshot.intent else None
        return _info(result.intent) if result.intent else None

    def take_session(
        self, account_id: object, provider: object, token: str | None
    ) -> Operation[dict[str, Any] | None]:
        """Take the session out of the ledger and open it."""
        account, name = read_account(self.settings, account_id, provider)
        sealed = yield from self.store.take_session(name, account, token or self.token)
        if sealed is None:
            return None
        try:
            session = json.loads(self.vault.open(session_name(name, account), sealed))
            if isinstance(session, dict):
                return session
            reason = "it has an invalid form"
        except CannotOpenError as error:
            reason = str(error)
        except ValueError:
            reason = "it has an invalid form"
        raise _unopened(reason)

    def next_of(
        self,
        group: str,
        reader: str | None,
        done: str,
        account_id: str | None = None,
        most: int = 1,
    ) -> Operation[list[tuple[str, Outcome | None]]]:
        """Finish one record of a group and read the next ones."""
        name = self.token if reader is None else reader
        return (
            yield from self.store.next_undelivered(
                group, name, most=most, left_ms=ABANDONED_MS, done=done, account_id=account_id
            )
        )

    @staticmethod
    def check_names(group: object, reader: object) -> None:
        """Refuse an invalid name of a group or a reader."""
        for word, name in (("group", group), ("reader", reader)):
            if name is not None and not (isinstance(name, str) and 0 < len(name) <= READER_MAX):
                msg = f"`{word}` must be a string of 1 to {READER_MAX} characters."
                raise CheckpointError(catalogue.INVALID_PARAMETERS, msg)

    @staticmethod
    def check_limit(limit: object) -> None:
        """Refuse an invalid limit."""
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise CheckpointError(catalogue.INVALID_PARAMETERS, "`limit` must be an integer.")
        if limit > LIMIT_MAX:
            msg = f"`limit` is at most {LIMIT_MAX}."
            raise CheckpointError(catalogue.LIMIT_TOO_HIGH, msg)
        if limit < 1:
            raise CheckpointError(catalogue.INVALID_PARAMETERS, "`limit` must be at least 1.")


def _info(intent: Intent) -> IntentInfo:
    checkpoint: Checkpoint = intent.checkpoint
    return IntentInfo(
        account_id=intent.account_id,
        provider=intent.provider,
        purpose=intent.purpose,
        state=intent.state,
        generation=intent.generation,
        checkpoint=checkpoint.as_wire(),
        checkpoint_step=intent.step,
        failures=intent.failures,
        failures_left=max(0, intent.failures_max - intent.failures),
        faults=intent.faults,
        opened_at=timestamp(intent.opened_at_ms),
        expires_at=timestamp(intent.expires_at_ms),
        current=intent.current.id if intent.current else None,
        busy=intent.wire is not None,
    )


def _unopened(reason: str) -> CheckpointError:
    """Return the error for a session that was taken and cannot be opened here."""
    msg = (
        f"There is a session, but it cannot be opened here: {reason}. The same token may take it"
        " again for a minute; after that it is gone, and the login has to start again."
    )
    return CheckpointError(catalogue.UNAVAILABLE, msg, retry_after_s=RETRY_S)


def _is_id(submission_id: object) -> bool:
    """Whether a value has the form of a submission id; any other value is an unknown id."""
    return isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id) is not None


def _as_told(submission_id: str, record: Outcome) -> Submission:
    """Return the submission that only its record describes."""
    assert record.queued_at is not None
    queued_ms = _at_ms(record.queued_at)
    return replace(
        unknown_submission(submission_id, queued_ms, record.seq),
        started_at_ms=_at_ms(record.started_at) if record.started_at else None,
        supersedes=record.supersedes,
    )


def _at_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _read_proxy(settings: Settings, proxy: object) -> str | None:
    if proxy is None:
        return None
    if not isinstance(proxy, str):
        raise CheckpointError(catalogue.INVALID_PARAMETERS, "`proxy` must be a string.")
    from checkpoint_worker.providers.http.proxy import parse_proxy  # noqa: PLC0415  only where a proxy is given

    try:
        parse_proxy(proxy, allow_private=settings.allow_private_proxies)
    except ProviderFailure as failure:
        msg = f"`proxy` cannot be used. {failure.detail}"
        raise CheckpointError(catalogue.INVALID_PARAMETERS, msg) from None
    return proxy


def unavailable(
    error: LedgerError, known: str, submission_id: str | None = None
) -> CheckpointError:
    """Return the 503 for a ledger that does not answer, with what the caller may rely on."""
    match error:
        case LedgerBusyError():
            known = "Too many calls change this login at once; nothing was stored, try again."
        case ForeignLedgerError():  # Its text is this project's own and names no secret.
            known = f"This ledger must not be used; nothing was stored. Cause: {error}."
        case LedgerUnavailableError(meaning=str(meaning)) if meaning:
            known = f"{known} Cause: {meaning}."
    return CheckpointError(catalogue.UNAVAILABLE, known, submission_id, retry_after_s=RETRY_S)
