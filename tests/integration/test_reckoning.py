"""A commit on what the own last one left: one trip instead of two, and never on a stale fact."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import redis

from checkpoint_worker.providers.contract import Cleared, SolutionKind
from checkpoint_worker.tasks.events import AttemptFinished
from checkpoint_worker.tasks.model import IntentState, replace
from checkpoint_worker.tasks.storage.executor import ScriptCall, SyncExecutor
from checkpoint_worker.tasks.storage.plan import CommitExtras, Result
from checkpoint_worker.tasks.storage.views import Snapshot
from tests.support.ledger_fixture import ACCOUNT, PROVIDER, LedgerFixture

CLEARED = Cleared(user_id="u1", session={})


class CountingExecutor(SyncExecutor):
    """An executor that knows which scripts it ran."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.ran: Counter[str] = Counter()

    def _call(self, call: ScriptCall) -> list[Any]:
        self.ran[call.script] += 1
        return super()._call(call)


@pytest.fixture
def claimed(ledger: LedgerFixture) -> Result:
    """Return the claim of a submission, by a ledger that counts from then on."""
    ledger.accepted("s1")
    result = ledger.claim("s1")
    ledger.executor = CountingExecutor(ledger.redis)
    return result


def settle(ledger: LedgerFixture, start: Snapshot) -> Result:
    """Settle the claimed submission on what is said to be there."""

    def answer(snapshot: Snapshot) -> AttemptFinished:
        return AttemptFinished(
            submission_id="s1",
            generation=snapshot.intent.generation if snapshot.intent else 0,  # type: ignore[arg-type]
            claim="c1",
            kind=SolutionKind.CODE,
            verdict=CLEARED,
            user_taken=snapshot.values.get("owner") not in (None, ACCOUNT),
        )

    def extra(snapshot: Snapshot, _: object) -> CommitExtras:
        return CommitExtras(
            put=(("owner", ACCOUNT, 0),), expect={"owner": snapshot.values.get("owner") or ""}
        )

    return ledger.bring(answer, start=start, make_extra=extra, also=("owner",))


def ran(ledger: LedgerFixture) -> Counter[str]:
    """Return which scripts were run."""
    assert isinstance(ledger.executor, CountingExecutor)
    return ledger.executor.ran


def test_nobody_came_between_so_nothing_is_read(ledger: LedgerFixture, claimed: Result) -> None:
    """The usual case: claim, answer, outcome."""
    began_s = time.monotonic()
    result = settle(ledger, claimed.advanced_by(round((time.monotonic() - began_s) * 1000)))
    assert result.records[0].status == 201
    assert ran(ledger) == {"commit": 1}


def test_what_is_reckoned_is_what_a_read_would_show(ledger: LedgerFixture, claimed: Result) -> None:
    """Intent, version and the commands that changed it."""
    read = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT))
    extrapolated = replace(claimed.advanced_by(0), now_ms=read.now_ms, extrapolated=False)
    assert extrapolated == read


def test_somebody_came_between_so_it_is_read_and_decided_anew(
    ledger: LedgerFixture, claimed: Result
) -> None:
    """A newer code superseded it: its verdict counts for the newer one, as the table says."""
    ledger.submit("s2")
    ran(ledger).clear()
    settle(ledger, claimed.advanced_by(0))
    assert ran(ledger) == {"read": 1, "commit": 2}
    intent = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT)).intent
    assert intent is not None
    assert intent.state is IntentState.COMPLETED


@pytest.mark.parametrize("off_ms", [1_500, -1_500])
def test_a_clock_that_disagrees_with_redis_is_not_believed(
    ledger: LedgerFixture, claimed: Result, off_ms: int
) -> None:
    """A machine that slept counts no time; instants in the ledger are Redis' own."""
    result = settle(ledger, claimed.advanced_by(off_ms))
    assert ran(ledger) == {"read": 1, "commit": 2}
    seconds, micros = ledger.redis.time()
    finished_at = result.records[0].finished_at
    assert finished_at is not None
    assert abs(finished_at.timestamp() - seconds - micros / 1e6) < 1


def test_an_owner_nobody_looked_up_is_found_all_the_same(
    ledger: LedgerFixture, claimed: Result
) -> None:
    """The provider's user belongs to another account here: 409, not 201."""
    ledger.redis.set("owner", "acc_other")
    assert settle(ledger, claimed.advanced_by(0)).records[0].status == 409


def test_another_redis_is_not_taken_for_this_one(ledger: LedgerFixture, claimed: Result) -> None:
    """After a failover the same version may be another state."""
    start = replace(claimed.advanced_by(0), run_id="f" * 40)
    settle(ledger, start)
    assert ran(ledger)["read"] == 1


def test_a_claim_that_was_granted_before_reckons_on_as_well(
    ledger: LedgerFixture, claimed: Result
) -> None:
    """Its repeat, after a lost reply, writes nothing: then the tokens are those that were read."""
    repeated = ledger.claim("s1")
    assert repeated.token == ""
    settle(ledger, repeated.advanced_by(0))
    assert ledger.outcome("s1").status == 201
