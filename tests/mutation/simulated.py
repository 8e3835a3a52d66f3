"""The product with one guard removed: what the simulation must notice, and how soon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.execution import sweeper as sweep
from checkpoint_worker.tasks.execution.ledger import TryLedger
from checkpoint_worker.tasks.model import Settlement
from checkpoint_worker.tasks.operations.validation import unknown_submission
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.plan import Result
from tests.mutation.form import Edit
from tests.mutation.rules import RULES
from tests.support.simulation.promises import Violation
from tests.support.simulation.server import SimServer
from tests.support.simulation.world import World

Make = Callable[[], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A name, what to give to `World`, the weather that shows it, and where to begin."""

    name: str
    make: Make
    storms: tuple[str, ...] = ()
    first: int = 0

    def caught_by(self, seeds: int) -> tuple[int, str] | None:
        """Return the seed that noticed it and the story, ``None`` if none did."""
        for seed in range(self.first, self.first + seeds):
            try:
                World(seed, storms=self.storms, **self.make()).run()
            except Violation as violation:
                return seed, str(violation)
        return None


def _rules(name: str) -> Make:
    return lambda: {"decide": RULES[name].module().decide}


def _attempt(old: str, new: str) -> Make:
    edit = Edit(file="tasks/execution/attempt.py", old=old, new=new)
    return lambda: {"attempts": edit.module()}


def _server(**guards: bool) -> Make:
    return lambda: {"server": type("MutatedServer", (SimServer,), guards)}


def _patched(where: object, name: str, what: object) -> Make:
    return lambda: {"patches": ((where, name, what),)}


async def _settle_twice(sweeper: sweep.Sweeper, intent: tuple[str, str], result: Result) -> None:
    """What a sweep has settled it settles again, in other words."""
    home = sweeper.attempts
    for record in result.records:
        settlement = Settlement(
            submission=unknown_submission(str(record.submission_id), result.now_ms),
            answer=catalogue.CANCELED,
            code_sent=True,
        )
        await home.executor.run(home.store.settle_orphan(*intent, settlement))


def _overwriting() -> dict[str, Any]:
    """A sweeper that settles what is settled, and a commit that lets it."""
    return {
        **_server(KEEPS_FINALS=False)(),
        **_patched(sweep.Sweeper, "_after", _settle_twice)(),
    }


async def _deaf_beat(heart: sweep.Heartbeat) -> None:
    """A heartbeat whose answer nobody reads to the end."""
    home = heart.attempts
    answer = await home.executor.run(home.store.send_heartbeat(home.worker, heart.answered_ms))
    heart.answered_ms = answer.now_ms
    home.ready.set()


async def _settle_once(ledger: TryLedger, steps: Callable[[], Any]) -> Result | None:
    """A settle that gives up when the ledger is away."""
    with suppress(LedgerError):
        return await ledger._transact(steps())
    return None


async def _no_tick(*_: object) -> None:
    return None


SIMULATED: Final = (
    Simulated(
        name="claim not required before the first byte",
        make=_attempt(
            "            self._stage = _Stage.CLAIMING\n",
            "            self._stage = _Stage.CLAIMED\n"
            "            end_s = time.monotonic() + FIRST_BYTE_S\n"
            "            return ClaimTicket(code=ledger.open_code(), send_before=end_s)\n",
        ),
    ),
    Simulated(
        name="no clock check between claim and first byte",
        make=_attempt("FIRST_BYTE_S: Final = 1.0\n", "FIRST_BYTE_S: Final = 1_000.0\n"),
        storms=("stop",),
        first=29,
    ),
    Simulated(
        name="the holder does not close its exchange by its own clock",
        make=_attempt("        self._limit.reschedule(asked_loop_s + left_s)\n", ""),
    ),
    Simulated(
        name="a settle is not repeated",
        make=_patched(TryLedger, "_retry_until_expiry", _settle_once),
        storms=("away", "calls"),
    ),
    Simulated(name="version check removed from the commit", make=_server(CHECKS_VERSION=False)),
    Simulated(
        name="no not_after in the commit",
        make=_server(CHECKS_NOT_AFTER=False),
        storms=("slow", "calls"),
        first=9,
    ),
    Simulated(
        name="run_id ignored by the commit",
        make=_server(CHECKS_RUN_ID=False),
        storms=("restart", "slow"),
    ),
    Simulated(name="publish outside the commit", make=_server(PUBLISHES=False)),
    Simulated(name="sweeper that overwrites", make=_overwriting, storms=("crash",)),
    Simulated(
        name="workers judged right after a Redis gap",
        make=_patched(sweep.Heartbeat, "may_judge", True),
        storms=("away",),
    ),
    Simulated(
        name="superseded holder learns by signal only (heart)",
        make=_patched(sweep.Heartbeat, "send_heartbeat", _deaf_beat),
        storms=("signals",),
    ),
    Simulated(
        name="superseded holder learns by signal only (rules)",
        make=_rules("superseded holder learns by signal only"),
        storms=("signals", "cut"),
        first=63,
    ),
    Simulated(
        name="nobody sweeps", make=_patched(sweep.Sweeper, "_tick", _no_tick), storms=("crash",)
    ),
    Simulated(
        name="failure counted without holding the wire",
        make=_rules("failure counted without holding the wire"),
        storms=("stop", "calls"),
        first=150,
    ),
    Simulated(
        name="lost worker's sent wire freed at once",
        make=_rules("lost worker's sent wire freed at once"),
        storms=("crash",),
        first=150,
    ),
    *(
        Simulated(name=name, make=_rules(name), storms=storms)
        for name, storms in (
            ("no wire check before begin and claim", ()),
            ("superseded wire freed at once", ()),
            ("run_id ignored", ("failover",)),
            ("reopen drops a sent wire", ()),
            ("kill frees a sent wire", ()),
            ("wire freed only by its holder", ("crash",)),
            ("verdict of an old generation accepted", ()),
            ("claim leaves the code", ()),
            ("a sent code called unsent", ()),
            ("previous one's next checkpoint leaves the newer one waiting", ()),
            ("> for >= at the kill", ()),
            ("double click is sent", ()),
        )
    ),
)
