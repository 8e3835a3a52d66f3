"""Commands for submissions: submit, result, watch, show, cancel."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from checkpoint_worker.worker.cli.commands.common import (
    DAY_S,
    INPUT_MAX,
    FiniteRange,
    as_json,
    fail,
    open_client,
    provider_option,
    read_settings,
    sentences,
)
from checkpoint_worker.worker.cli.console import (
    CLIENT_ERROR,
    coloured,
    outcome_label,
    output,
    put_pairs,
    status_line,
)

if TYPE_CHECKING:
    from checkpoint_worker.tasks.records import Outcome
    from checkpoint_worker.tasks.settings import Settings


@click.command()
@click.argument("account_id")
@click.argument("stray", nargs=-1, metavar="")
@provider_option
@click.option("--wait/--no-wait", default=True, help="Wait for the outcome (the default) or not.")
@click.option("--id", "submission_id", metavar="ID", help="Submission id, to submit once only.")
@click.option("--step", type=click.IntRange(1), help="Checkpoint step that this code answers.")
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(0.0, DAY_S, min_open=True),
    metavar="SECONDS",
    help="Longest to wait.",
)
@as_json
def submit(
    *,
    account_id: str,
    stray: tuple[str, ...],
    provider: str,
    wait: bool,
    submission_id: str | None,
    step: int | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Submit a code and print its outcome.

    The code is asked for on a terminal, hidden, or read from stdin. Exit status 0: it was
    accepted (or, with --no-wait, taken); 1: any other outcome, or none in time.

    \b
    Examples:
      checkpoint submit acc_42 --provider LINKEDIN
      read-code | checkpoint submit acc_42 --provider LINKEDIN --json
    """  # noqa: D301
    if stray:  # click's own message would repeat the argument, which may be a code.
        msg = (
            "a code is never an argument: it would show in `ps` and stay in the shell's history;"
            " leave it out, it is asked for, or pipe it in"
        )
        raise click.UsageError(msg)
    code = _read_code()
    with sentences(as_json=as_json), open_client() as client:
        taken = client.submit(
            account_id=account_id,
            provider=provider,
            code=code,
            submission_id=submission_id,
            checkpoint_step=step,
        )
        del code
        record: Outcome | None = taken.outcome
        if wait:
            from checkpoint_worker.tasks.operations.submissions import BEYOND_DEADLINE_S  # noqa: PLC0415

            status_line(f"Submitted as {taken.id}; waiting for the outcome …")
            longest_s = timeout_s or client.settings.deadline_s + BEYOND_DEADLINE_S
            record = client.wait(taken.id, longest_s)
    assert record is not None
    _put_record(record, as_json=as_json)
    if wait and not record.is_final:
        status_line(f"No outcome yet. Ask again: checkpoint result {taken.id}")
    refused = record.is_final and (record.status or 0) >= CLIENT_ERROR
    sys.exit(1 if refused or (wait and not record.is_final) else 0)


def _read_code() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Code", hide_input=True, err=True))
    code = sys.stdin.read(INPUT_MAX).strip()
    if not code:
        msg = "there is no code on stdin"
        raise click.UsageError(msg)
    return code


@click.command()
@click.argument("submission_id")
@as_json
def result(*, submission_id: str, as_json: bool) -> None:
    """Print the record of a submission.

    \b
    Example:
      checkpoint result sub_01K… --json | jq .status
    """  # noqa: D301
    with sentences(as_json=as_json), open_client(seals=False) as client:
        record = client.result(submission_id)
    _put_record(_known(record, submission_id), as_json=as_json)


@click.command()
@click.option("--account", metavar="ID", help="Of this account alone.")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@as_json
def watch(*, account: str | None, count: int | None, as_json: bool) -> None:
    """Print outcomes as they arrive, one a line, until Ctrl-C.

    What is written while nobody watches is not shown here; it is in its record and in the
    stream of outcomes.

    \b
    Examples:
      checkpoint watch
      checkpoint watch --account acc_42 --json
    """  # noqa: D301
    from pydantic import ValidationError  # noqa: PLC0415

    from checkpoint_worker.tasks.records import Outcome  # noqa: PLC0415

    if account == "":  # As a variable leaves it that is not set.
        msg = "--account is empty: name an account, or leave it out to see those of all"
        raise click.UsageError(msg)
    left = itertools.count() if count is None else iter(range(1, count))

    def put(text: str) -> None:
        try:
            record = Outcome.model_validate_json(text)
        except ValidationError:  # Anybody who may publish at this Redis may have sent it.
            status_line("A message that is no record was skipped.")
            return
        if as_json:
            output(text)
        else:
            _put_line(record)
        if next(left, None) is None:
            raise _EnoughError

    with sentences(as_json=as_json), contextlib.suppress(KeyboardInterrupt, _EnoughError):
        asyncio.run(_receive(read_settings(), account, put))


class _EnoughError(Exception):
    """As many outcomes have been printed as were asked for."""


async def _receive(settings: Settings, account: str | None, put: Callable[[str], None]) -> None:
    """Subscribe to the results channel, reconnect when necessary, and hand each record over."""
    from checkpoint_worker.tasks.storage.executor import answered, connect_async  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.keys import Keys  # noqa: PLC0415
    from checkpoint_worker.tasks.storage.subscription import Subscription  # noqa: PLC0415

    keys = Keys(settings.prefix)
    name = keys.account_results(account) if account else keys.results
    said: set[str] = set()

    def say(text: str) -> None:
        if text not in said:
            status_line(text)
            said.clear()
            said.add(text)

    def subscribed() -> None:
        say(f"Watching {name}; Ctrl-C ends it.")

    def lost(error: Exception) -> None:
        if not said:
            with answered():
                raise error
        say("Redis does not answer; trying again. Outcomes of this time are not shown.")

    async with connect_async(settings.redis_url.get_secret_value(), settings.prefix) as client:
        ear = keys.ear(secrets.token_hex(8))
        subscription = Subscription(client, client.publish, ear, name, subscribed=subscribed)
        await subscription.run(put, lost)


@click.command()
@click.argument("submission_id")
@as_json
def show(*, submission_id: str, as_json: bool) -> None:
    """Tell the story of a submission: what happened when, and why.

    \b
    Example:
      checkpoint show sub_01K…
    """  # noqa: D301
    with sentences(as_json=as_json), open_client(seals=False) as client:
        record = _known(client.result(submission_id), submission_id)
    if as_json:
        output(record.to_json())
    else:
        _put_story(record)


@click.command()
@click.argument("submission_id")
@as_json
def cancel(*, submission_id: str, as_json: bool) -> None:
    """Take a submission back; one whose code was sent already may still act at the provider.

    Exit status 0: it is canceled; 1: it had another outcome before, which stays.

    \b
    Example:
      checkpoint cancel sub_01K…
    """  # noqa: D301
    with sentences(as_json=as_json), open_client(seals=False) as client:
        record = _known(client.cancel(submission_id), submission_id)
    _put_record(record, as_json=as_json)
    canceled = outcome_label(record.status, record.body) == "409 operation_canceled"
    if not canceled:
        status_line("It had its outcome already; nothing was changed.")
    sys.exit(0 if canceled else 1)


def _put_record(record: Outcome, *, as_json: bool) -> None:
    if as_json:
        output(record.to_json())
        return
    output(coloured(outcome_label(record.status, record.body, record.state), record.status))
    pairs = {"submission": record.submission_id, "account": record.account_id}
    pairs |= {"provider": record.provider}
    if record.body and (detail := record.body.get("detail")):
        pairs["detail"] = str(detail)
    if record.body and isinstance(checkpoint := record.body.get("checkpoint"), dict):
        pairs["next step"] = " from ".join(str(each) for each in checkpoint.values() if each)
    if record.superseded_by:
        pairs["superseded by"] = record.superseded_by
    if record.code_sent is not None:
        pairs["code sent"] = "yes, or it may have been" if record.code_sent else "no"
    if record.intent:
        left = record.intent.failures_left
        pairs["intent"] = f"{record.intent.state}, {left} tries left"
    put_pairs(pairs)


def _put_line(record: Outcome) -> None:
    """Print a record from the channel on one line."""
    state = record.intent.state if record.intent else ""
    text = outcome_label(record.status, record.body, f"intent {state}")
    at = record.model_dump(mode="json", include={"finished_at"})["finished_at"]
    output(
        f"{at}  {coloured(f'{text:36}', record.status)}  {record.provider:9}  "
        f"{record.account_id}  {record.submission_id or ''}".rstrip()
    )


def _put_story(record: Outcome) -> None:
    output(f"{record.submission_id}  {record.provider}  {record.account_id}")
    output(f"generation {record.generation}, submission number {record.seq} of its login\n")
    for at, text in _events(record):
        if at is not None:
            since_s = (at - (record.queued_at or at)).total_seconds()
            output(f"  {at:%H:%M:%S}.{at.microsecond // 1000:03}  +{since_s:7.3f} s  {text}")
    output("")
    _put_record(record, as_json=False)


def _events(record: Outcome) -> Iterator[tuple[datetime | None, str]]:
    """Yield the events of a submission in order, as far as the record holds them."""
    accepted, claimed, final = record.queued_at, record.started_at, record.finished_at
    yield accepted, "submitted: accepted, its code sealed, queued"
    if record.supersedes:
        yield accepted, f"took the place of {record.supersedes}"
    if accepted and claimed:
        took = f"{(claimed - accepted).total_seconds():.3f} s for queue and connecting"
        yield claimed, f"claimed ({took}): the code goes out now, once"
    if not record.is_final:
        return
    if record.superseded_by:
        yield final, f"superseded by {record.superseded_by}"
    if claimed and final:
        took = f" ({(final - claimed).total_seconds():.3f} s at the provider)"
    else:
        took = " (never claimed: the code was not sent)" if record.code_sent is False else ""
    outcome = coloured(outcome_label(record.status, record.body, record.state), record.status)
    yield final, f"final: {outcome}{took}"


def _known(record: Outcome | None, submission_id: str) -> Outcome:
    if record is None:
        fail(
            f"no submission {submission_id} is known here: a wrong id, another CHECKPOINT_PREFIX"
            " or Redis, or its record has expired"
        )
    return record
