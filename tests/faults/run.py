"""Submit thousands of codes while everything breaks, then hold what happened against the promise.

    python -m tests.faults [--submissions 10000] [--seconds 600] [--seed S]

Real worker processes over one real Redis and the sandbox, with short times that nest as in
production. The seed decides who types what and what breaks when; how processes race is theirs
alone. It ends only what it started. Exit 0: nothing was violated; 1: something was, and the
seed, the submissions and the workers' logs say where to look.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis.asyncio

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.execution.attempt import FIRST_BYTE_S
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import connect_async
from tests.faults.driver import LATE_AFTER_S, Book, Person, Typed, insist, watch
from tests.faults.fault_schedule import FaultSchedule, MessageFaults, schedule
from tests.support.deployment import SHORT, Deployment, RedisProcess

TIMES: Final[dict[str, Any]] = {
    **SHORT,
    "provider_timeout_s": 3.0,
    "wire_margin_s": 0.5,
    "drain_s": 1.0,
    "min_send_s": 0.5,
    "deadline_s": 6.0,
    "heartbeat_s": 0.3,
    "lost_after_s": 1.5,
    "sweep_s": 0.3,
    "leader_s": 0.9,
    "wake_again_s": 0.8,
}
WORKERS: Final = 3
RATE: Final = 25.0
GAP_S: Final = 1.5
PLAYS_AT_ONCE: Final = 120
"""Limit above which no new person begins, because the run tests faults, not load."""
REPORT_S: Final = 5.0
LAST_S: Final = 60.0
"""Time for plays to end after the last one has begun, seconds."""
SEND_GRACE_S: Final = FIRST_BYTE_S + 0.5
"""Time by which a send may follow a claim that was acknowledged just before Redis was emptied,
seconds."""
STREAM_GRACE_MS: Final = 1_000
LOST_TOLD: Final = (403, 504)
"""Statuses that a submission may get, if any, after its Redis was emptied: the new Redis does not
know its intent, or a record has survived."""
SHOWN_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to run.

    Attributes:
        submissions: Number of submissions after which no new person begins.
        seconds: Duration after which no new person begins, either.
        rate: Number of plays that begin each second; a play has one to three submissions.
        gap_s: Average time between two faults, seconds.
    """

    submissions: int
    seconds: float
    seed: int
    rate: float = RATE
    gap_s: float = GAP_S
    workers: int = WORKERS


@dataclass(slots=True, kw_only=True)
class Findings:
    """What came of it.

    Attributes:
        violations: Sentences; empty is what the run is for.
        worst_s: Longest time from acceptance to outcome, by Redis' clock.
    """

    submissions: int = 0
    sends: int = 0
    sent_twice: int = 0
    without_outcome: int = 0
    emptied: int = 0
    never_taken: int = 0
    worst_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The figures, one a line."""
        return "\n".join(
            (
                f"submissions           {self.submissions}",
                f"sends                 {self.sends}",
                f"sent twice            {self.sent_twice}",
                f"without an outcome    {self.without_outcome}",
                f"lost with their Redis {self.emptied}",
                f"never taken           {self.never_taken}",
                f"worst time to outcome {self.worst_s:.2f} s",
                f"outcomes              {_counted(self.statuses)}",
                f"faults                {_counted(self.faults)}",
            )
        )


def _counted(counter: Counter[Any]) -> str:
    return ", ".join(f"{key}: {count}" for key, count in sorted(counter.items()))


def run(wish: Wish, logs: Path, say: Callable[[str], None]) -> Findings:
    """Run it and return what came of it."""
    with (
        RedisProcess(logs) as server,
        Deployment(server.url, "faults", logs, **TIMES) as deployment,
    ):
        playing = asyncio.run_coroutine_threadsafe(
            _play(deployment, server, wish, say), deployment.loops.loop
        )
        try:
            return playing.result(wish.seconds + 4 * LAST_S)
        finally:
            playing.cancel()


async def _play(
    deployment: Deployment, server: RedisProcess, wish: Wish, say: Callable[[str], None]
) -> Findings:
    book = Book()
    deadline_s = deployment.settings.deadline_s
    async with (
        connect_async(server.url) as raw,
        AsyncCheckpointClient(deployment.settings) as client,
    ):
        client._producer = mischief = MessageFaults(client._producer, wish.seed)
        fault_schedule = FaultSchedule(
            deployment=deployment, server=server, book=book, client=raw, mischief=mischief
        )
        await asyncio.gather(*(fault_schedule.start_worker() for _ in range(wish.workers)))
        say(f"{wish.workers} workers are up; seed {wish.seed}")
        crew = [
            asyncio.create_task(watch(book, raw, deployment.prefix)),
            asyncio.create_task(_tell(book, fault_schedule, say)),
        ]
        breaking = asyncio.create_task(
            fault_schedule.run(schedule(wish.seed, wish.seconds, wish.gap_s))
        )
        try:
            crashed = await _perform(book, client, deployment, wish)
            fault_schedule.over.set()
            await asyncio.wait([breaking])
            crashed += await fault_schedule.mended()
            await _until_quiet(book, deadline_s)
        finally:
            crew.append(breaking)
            for task in crew:
                task.cancel()
            await asyncio.wait(crew)
        failed = [task for task in crew if not task.cancelled() and task.exception()]
        crashed += ["".join(traceback.format_exception(task.exception())) for task in failed]
        return await _judge(book, fault_schedule, client, raw, crashed)


async def _perform(
    book: Book, client: AsyncCheckpointClient, deployment: Deployment, wish: Wish
) -> list[str]:
    """Begin plays at the rate until there are enough; return the tracebacks of crashed ones."""
    loop = asyncio.get_running_loop()
    end_s, number = loop.time() + wish.seconds, 0
    plays: set[asyncio.Task[None]] = set()
    crashed: list[str] = []

    def done(play: asyncio.Task[None]) -> None:
        plays.discard(play)
        if not play.cancelled() and (error := play.exception()) is not None:
            crashed.append("".join(traceback.format_exception(error)))

    while len(book.typed) < wish.submissions and loop.time() < end_s:
        if len(plays) < PLAYS_AT_ONCE:
            number += 1
            person = Person(book, client, deployment.sandbox, wish.seed, number)
            play = asyncio.create_task(person.play())
            plays.add(play)
            play.add_done_callback(done)
        await asyncio.sleep(1 / wish.rate)
    if plays:
        _, hanging = await asyncio.wait(plays, timeout=LAST_S)
        for play in hanging:
            play.cancel()
        crashed += [f"a play did not end: {play}" for play in hanging]
    return crashed


async def _until_quiet(book: Book, deadline_s: float) -> None:
    """Wait until everything accepted has its record, or should have had it."""
    for typed in [*book.waiting.values()]:
        if typed.accepted_s is not None:
            left_s = typed.accepted_s + deadline_s + LATE_AFTER_S + 1.0 - time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(typed.seen.wait(), max(0.0, left_s))


async def _tell(book: Book, fault_schedule: FaultSchedule, say: Callable[[str], None]) -> None:
    begin_s = time.monotonic()
    while True:
        await asyncio.sleep(REPORT_S)
        finals = [typed.final for typed in book.typed.values() if typed.final is not None]
        worst_s = max(map(_took_s, finals), default=0.0)
        say(
            f"{time.monotonic() - begin_s:5.0f} s  {len(book.typed):6} submitted"
            f"  {len(book.waiting):4} waiting  {len(fault_schedule.healthy)} workers well"
            f"  {sum(fault_schedule.counts.values()):4} faults  worst {worst_s:.2f} s"
        )


def _took_s(record: Outcome) -> float:
    if record.queued_at is None or record.finished_at is None:
        return 0.0
    return (record.finished_at - record.queued_at).total_seconds()


def _away_s(record: Outcome, away: Sequence[tuple[float, float]]) -> float:
    """Return the time for which Redis was away while a submission waited; it extends the limit."""
    assert record.queued_at is not None
    assert record.finished_at is not None
    begin, end = record.queued_at.timestamp(), record.finished_at.timestamp()
    return sum(max(0.0, min(end, until) - max(begin, at)) for at, until in away)


# The verdict ---------------------------------------------------------------------------


async def _judge(
    book: Book,
    fault_schedule: FaultSchedule,
    client: AsyncCheckpointClient,
    raw: redis.asyncio.Redis,
    crashed: list[str],
) -> Findings:
    """Compare what was typed, sent, recorded and published."""
    deployment = fault_schedule.deployment
    found = Findings(
        submissions=len(book.typed),
        sends=len(deployment.sandbox.sends),
        faults=fault_schedule.counts + fault_schedule.mischief.counts,
        violations=[f"crashed: {text}" for text in crashed],
    )
    by_code: dict[str, list[Typed]] = defaultdict(list)
    for typed in book.typed.values():
        by_code[typed.code].append(typed)
        await _judge_outcome(typed, book, client, fault_schedule, found)
    _judge_sends(book, deployment, by_code, found)
    stream: Any = await insist(lambda: raw.xrange(f"{deployment.prefix}:outcomes"))
    streams = [*fault_schedule.streams, (None, [entry["record"] for _, entry in stream])]
    _judge_publications(book, deployment, streams, found)
    for name in ("queued", "due"):
        now_ms = round(time.time() * 1000)
        left: Any = await insist(
            lambda: raw.zrangebyscore(f"{deployment.prefix}:{name}", "-inf", now_ms - 5_000)  # noqa: B023
        )
        found.violations += [f"still in `{name}`, five seconds overdue: {each}" for each in left]
    left = [name async for name in raw.scan_iter(f"{deployment.prefix}:sealed:solution:*")]
    found.violations += [f"a sealed code was left: {name}" for name in left]
    return found


async def _judge_outcome(
    typed: Typed,
    book: Book,
    client: AsyncCheckpointClient,
    fault_schedule: FaultSchedule,
    found: Findings,
) -> None:
    deployment, record = fault_schedule.deployment, typed.final
    now = await insist(lambda: client.result(typed.id))
    if record is None:
        _judge_missing(typed, now, found)
        return
    if typed.epoch == book.epoch and now != record:
        found.violations.append(f"{_name(typed)}: {_told(record)}, but later {_told(now)}")
    found.statuses[record.status or 0] += 1
    found.worst_s = max(found.worst_s, _took_s(record))
    late_after_s = (
        deployment.settings.deadline_s + LATE_AFTER_S + _away_s(record, fault_schedule.away)
    )
    if _took_s(record) > late_after_s:
        found.violations.append(f"{_name(typed)}: later than {late_after_s:.2f} s: {_told(record)}")
    if record.status == 401 and deployment.sandbox.count(typed.code) == 0:
        found.violations.append(f"{_name(typed)}: refused, but never sent: {_told(record)}")


def _judge_missing(typed: Typed, told: Outcome | None, found: Findings) -> None:
    """Judge the outcome that a backend reads now, because no client has seen one before."""
    if typed.emptied:
        found.emptied += 1
        if told is not None and told.status not in LOST_TOLD:
            found.violations.append(f"{_name(typed)}: lost with its Redis, but {_told(told)}")
    elif told is None and typed.accepted_s is None:
        found.never_taken += 1
    else:
        found.without_outcome += 1
        found.violations.append(f"{_name(typed)}: no outcome by itself; asked: {_told(told)}")


def _judge_sends(
    book: Book, deployment: Deployment, by_code: dict[str, list[Typed]], found: Findings
) -> None:
    """Each send must belong to one submission that does not deny it."""
    sends: dict[str, list[float]] = defaultdict(list)
    for send in deployment.sandbox.sends:
        sends[send.code].append(send.at)
    for code, times in sends.items():
        owners = by_code.get(code, [])
        allowed = sum(typed.final is None or typed.final.code_sent is True for typed in owners)
        if len(times) > allowed:
            found.sent_twice += len(times) - allowed
            names = [f"{_name(typed)}: {_told(typed.final)}" for typed in owners]
            found.violations.append(f"sent {len(times)} times, not {allowed}: {names}")
        for typed in owners:
            if typed.emptied and max(times) > book.emptied_at[typed.epoch] + SEND_GRACE_S:
                found.violations.append(f"{_name(typed)}: sent after its Redis was emptied")
    for account in book.accounts:
        if account.max_open_exchanges > 1:
            found.violations.append(f"{account.id}: two exchanges at once")


def _judge_publications(
    book: Book,
    deployment: Deployment,
    streams: Sequence[tuple[int | None, list[str]]],
    found: Findings,
) -> None:
    """Once in the stream, by the commit that wrote the record; heard at most once."""
    heard = Counter(record["submission_id"] for record in [*deployment.publications.seen])
    found.violations += [
        f"{name}: published {times} times" for name, times in heard.items() if name and times > 1
    ]
    for epoch, (until_ms, texts) in enumerate(streams):
        logged: dict[str, list[str]] = defaultdict(list)
        for text in texts:
            logged[json.loads(text)["submission_id"]].append(text)
        for typed in book.typed.values():
            record = typed.final
            if record is None or typed.epoch != epoch or typed.emptied:
                continue
            if until_ms is not None and _finished_ms(record) > until_ms - STREAM_GRACE_MS:
                continue  # Redis was ended about then.
            if logged[typed.id] != [record.to_json()]:
                found.violations.append(
                    f"{_name(typed)}: {_told(record)}, in the stream: {logged[typed.id]}"
                )


def _finished_ms(record: Outcome) -> float:
    return record.finished_at.timestamp() * 1000 if record.finished_at else 0.0


def _told(record: Outcome | None) -> str:
    return record.to_json() if record is not None else "no record"


def _name(typed: Typed) -> str:
    return f"{typed.id} ({typed.account.provider}, play {typed.play})"


# The command ---------------------------------------------------------------------------


@contextlib.contextmanager
def _log_folder() -> Iterator[Path]:
    """A folder for logs; it goes when all is well."""
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-faults-"))
    yield folder
    shutil.rmtree(folder)


class _ViolatedError(Exception):
    """Leaves the logs where they are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--submissions", type=int, default=10_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=900.0, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rate", type=float, default=RATE, help="plays begun each second")
    wish = Wish(**vars(parser.parse_args(arguments)))

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with contextlib.suppress(_ViolatedError), _log_folder() as logs:
        found = run(wish, logs, say)
        say(found.text)
        if not found.violations:
            return 0
        for violation in found.violations[:SHOWN_MAX]:
            say(f"VIOLATED {violation}")
        say(f"{len(found.violations)} violations; seed {wish.seed}; logs of the workers in {logs}")
        raise _ViolatedError
    return 1


if __name__ == "__main__":
    sys.exit(main())
