"""Each guard of the commit, removed once: the check of its promise must notice."""

import pytest

from checkpoint_worker.tasks.storage import executor
from checkpoint_worker.tasks.storage.executor import Script
from checkpoint_worker.tasks.storage.plan import CommitPlan
from tests.mutation.scripts import SCRIPTS, claimed_without_code
from tests.support.ledger_fixture import LedgerFixture


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_commit_with_its_guard_keeps_the_promise(ledger: LedgerFixture, name: str) -> None:
    """The check that must catch the mutant finds nothing wrong without it."""
    assert SCRIPTS[name].check(ledger) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_commit_without_its_guard_is_noticed(
    ledger: LedgerFixture, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each guard is there for a reason that a test can tell."""
    whole = executor.script
    changed = executor.assembled(SCRIPTS[name].edit.text())

    def mutated(script: str) -> Script:
        return changed if script == "commit" else whole(script)

    monkeypatch.setattr(executor, "script", mutated)
    assert SCRIPTS[name].check(ledger) != []


def test_a_claim_takes_the_code_out_of_redis(ledger: LedgerFixture) -> None:
    """The promise that the next test breaks."""
    assert claimed_without_code(ledger) == []


def test_a_claim_that_leaves_the_code_is_noticed(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant of the plan: only outcomes take the solution out."""

    def only_settled(plan: CommitPlan) -> list[str]:
        settled = (item.submission.id for item in plan.decision.settled)
        return [plan.keys.solution(name) for name in settled]

    monkeypatch.setattr(CommitPlan, "_spent_solutions", only_settled)
    assert claimed_without_code(ledger) != []
