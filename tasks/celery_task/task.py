"""The Celery task ``checkpoint.solve``, which runs an attempt.

Its message is a wake, or a plain producer's submission, which the task submits first. The task has
no logic of its own. Its state in Celery and Flower is a column of the catalogue: REVOKED for a
superseded or canceled submission, FAILURE where an operator must act or a timeout has passed,
SUCCESS otherwise.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final, NamedTuple

import structlog
from celery import shared_task
from celery.exceptions import Ignore

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import CeleryState
from checkpoint_worker.tasks.celery_task.async_task import AsyncTask, Superseded, current_request
from checkpoint_worker.tasks.celery_task.message_options import REFUSALS, trace_fields
from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.operations.acceptance import Acceptance, refuse_steps
from checkpoint_worker.tasks.operations.validation import (
    ACCOUNT_ID_MAX,
    SUBMISSION_ID,
    CheckpointError,
    read_request,
)
from checkpoint_worker.tasks.operations.wake import TASK
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.vault import CannotOpenError, solution_name
from checkpoint_worker.tasks.tracebacks import no_values

log = structlog.get_logger("checkpoint.solve")

DETAIL_RAW_OFF: Final = "Codes in task messages are switched off; use the client or the gateway."


class SolveFailed(Exception):  # noqa: N818  reads as the state it becomes
    """A final outcome that Celery shows as FAILURE; its text is status and type."""


class CheckpointTask(AsyncTask):
    """A coroutine task; `sanitize` removes the codes from its messages before Celery reads them."""

    abstract = True
    Strategy = "checkpoint_worker.tasks.celery_task.sanitize:sanitizing_strategy"


class Raw(NamedTuple):
    """The contents of a message; a wake has only the first three."""

    submission_id: str
    account_id: Any
    provider: Any
    sealed: str | None
    refused: str | None
    send_by_ms: int | None


_installed: list[AttemptRunner] = []


def install(attempts: AttemptRunner | None) -> None:
    """Set the attempt runner of this process' task; ``None`` removes it."""
    _installed[:] = [attempts] if attempts is not None else []


@shared_task(
    name=TASK,
    base=CheckpointTask,
    acks_late=True,
    ignore_result=True,
    throws=(SolveFailed,),
)
async def solve(
    account_id: Any = None,  # noqa: ANN401  a producer may send any type
    provider: Any = None,  # noqa: ANN401
    sealed: str | None = None,
    refused: str | None = None,
    send_by_ms: int | None = None,
) -> str:
    """Run the attempt of one submission; the task id is the submission id.

    Args:
        account_id: The account.
        provider: The provider.
        sealed: The code of a plain Celery producer, sealed by `tasks.celery_task.sanitize`.
        refused: The reason why the code is not sent, a word of
            `tasks.celery_task.message_options.REFUSALS`.
        send_by_ms: Expiry of the producer's message, in milliseconds since the epoch.

    Returns:
        Status and type of the outcome, for Flower.
    """
    if not _installed:
        msg = "checkpoint.solve runs in a checkpoint worker only (checkpoint worker --help)"
        raise RuntimeError(msg)
    runner, submission_id = _installed[0], str(current_request().id)
    if not SUBMISSION_ID.fullmatch(submission_id):
        # Without a valid id no outcome can be written.
        log.warning("wake.unusable_id")
        raise Ignore
    raw = Raw(submission_id, account_id, provider, sealed, refused, send_by_ms)
    if not (trace := trace_fields(current_request())):
        return await _solve(runner, raw)
    with structlog.contextvars.bound_contextvars(**trace):
        return await _solve(runner, raw)


async def _solve(runner: AttemptRunner, raw: Raw) -> str:
    submission_id, account_id, provider = raw.submission_id, raw.account_id, raw.provider
    try:
        with no_values(SolveFailed, Ignore):
            if raw.sealed is not None or raw.refused is not None:
                record = await _submit(runner, raw)
                if record is not None:
                    return _show(record)
            if not (isinstance(account_id, str) and isinstance(provider, str)):
                log.warning("wake.unusable", submission_id=submission_id)
                raise Ignore
            return _show(await runner.run(submission_id, account_id, provider))
    except LedgerError as error:
        # The submission is still in the ledger; the sweeper wakes or settles it.
        log.warning("wake.ledger_away", submission_id=submission_id, error=type(error).__name__)
        raise Ignore from None


async def _submit(runner: AttemptRunner, raw: Raw) -> Outcome | None:
    """Accept a plain producer's submission; return its record if it was refused."""
    submission_id, account_id, provider = raw.submission_id, raw.account_id, raw.provider
    try:
        if raw.refused is not None or raw.sealed is None:
            raise CheckpointError(*REFUSALS[raw.refused or "body"], submission_id)  # noqa: TRY301
        name = solution_name(str(provider), str(account_id), submission_id)
        code = json.loads(runner.vault.open(name, raw.sealed))
        if not runner.settings.raw_intake:
            raise CheckpointError(catalogue.INVALID_REQUEST, DETAIL_RAW_OFF, submission_id)  # noqa: TRY301
        request = read_request(runner.settings, account_id, provider, code)
        del code
        request = replace(request, send_by_ms=raw.send_by_ms)
        acceptance = Acceptance(runner.store, runner.vault, request, submission_id)
        await runner.executor.run(acceptance.steps())
        log.info("submission.accepted", submission_id=submission_id, provider=provider)
    except CannotOpenError:
        log.warning("wake.forged", submission_id=submission_id)
        raise Ignore from None
    except CheckpointError as error:
        log.info("submission.refused", submission_id=submission_id, error=error.pair.type)
        account, place = (
            value[:ACCOUNT_ID_MAX] if isinstance(value, str) else ""
            for value in (account_id, provider)
        )
        await runner.executor.run(refuse_steps(runner.store, error, submission_id, account, place))
        _, record = await runner.executor.run(runner.store.record(submission_id))
        if record is None:  # The outcome has expired, and only the submission id is remembered.
            log.warning("wake.repeated", submission_id=submission_id)
            raise Ignore from None
        return record
    return None


def _show(record: Outcome | None) -> str:
    """Turn a record into the state that Celery shows.

    Raises:
        Superseded: The state is REVOKED; the exception names the successor.
        SolveFailed: The state is FAILURE.
        Ignore: There is no outcome: the submission is unknown, or another attempt runs it.
    """
    if record is None or not record.is_final:
        raise Ignore
    body = record.body or {}
    shown = f"{record.status} {str(body.get('type', body.get('object'))).removeprefix('errors/')}"
    match record.celery_state:
        case CeleryState.REVOKED:
            raise Superseded(record.superseded_by)
        case CeleryState.FAILURE:
            raise SolveFailed(shown)
        case CeleryState.SUCCESS:
            return shown
