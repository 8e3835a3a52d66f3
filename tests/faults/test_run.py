"""A small share of ``make faults`` for every run of the tests, and the run's own judgement."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from checkpoint_worker.providers.sandbox.accounts import Account, Accounts
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.model import Settlement
from checkpoint_worker.tasks.operations.validation import unknown_submission
from checkpoint_worker.tasks.records import Outcome, final_record
from checkpoint_worker.worker.runtime.broker import InvalidMessageError, validate_message
from tests.faults import run as module
from tests.faults.driver import Book, Typed
from tests.faults.fault_schedule import EMPTY_EVERY, KINDS, MALFORMED, schedule
from tests.faults.run import Findings, Wish, main, run

SEED: Final = 4
SHARE: Final = Wish(submissions=150, seconds=25.0, seed=SEED, rate=12.0, gap_s=0.7, workers=2)


@pytest.mark.fault
def test_a_share_of_the_faults_violates_nothing(tmp_path: Path) -> None:
    """Workers die, freeze and are replaced, Redis pauses, forgets and comes back empty.

    Nothing is sent twice, and everything has one outcome in time. The seed is told by the
    failure; ``python -m tests.faults --seed`` runs more of the same.
    """
    found = run(SHARE, tmp_path, lambda _: None)
    assert not found.violations, (f"seed {SEED}", found.text, found.violations)
    assert found.submissions > 0
    assert found.sends > 0
    assert found.faults.total() > 0
    assert found.statuses[201] > 0


# The schedule --------------------------------------------------------------------------


def test_the_same_seed_breaks_the_same_things_at_the_same_times() -> None:
    """A finding can be looked into by running its seed again."""
    first = list(schedule(SEED, 120.0, 1.0))
    assert first == list(schedule(SEED, 120.0, 1.0))
    assert first != list(schedule(SEED + 1, 120.0, 1.0))
    assert all(0 < fault.at_s <= 120 for fault in first)


def test_every_round_breaks_every_kind_of_thing_once() -> None:
    """No kind is left to chance; only emptying Redis, which ends all that is under way, is rare."""
    kinds = [fault.kind for fault in schedule(SEED, 1_000.0, 1.0)]
    often = len(KINDS) - 1
    assert set(kinds[: often + 1]) == set(KINDS)
    for begin in range(often + 1, EMPTY_EVERY * often, often):
        assert set(kinds[begin : begin + often]) == set(KINDS) - {"redis emptied"}


@pytest.mark.parametrize("element", MALFORMED)
def test_what_is_pushed_as_malformed_is_no_task(element: bytes) -> None:
    """Else the run would test nothing by it."""
    with pytest.raises(InvalidMessageError):
        validate_message(element, "faults")


# The verdict ---------------------------------------------------------------------------


class Case:
    """One submission of the code 123456 and what is found about it."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.account: Account = self.accounts.add_account("LINKEDIN", source="EMAIL", kind="plain")
        self.book, self.found = Book(accounts=[self.account]), Findings()
        self.typed = Typed(
            id="sub_1_1", code="123456", account=self.account, play="1 right", epoch=0
        )
        self.book.add(self.typed)

    def settle(self, *, sent: bool) -> Outcome:
        """Enter a final record."""
        settlement = Settlement(
            submission=unknown_submission("sub_1_1", 1_000),
            answer=catalogue.TIMED_OUT,
            code_sent=sent,
        )
        record = final_record(
            self.account.id, "LINKEDIN", settlement, 2_000, before=None, after=None
        )
        self.book.close(self.typed, record)
        return record

    def judge(self, *logged: str, heard: int = 1) -> list[str]:
        """Return what the run finds."""
        seen: list[dict[str, Any]] = [{"submission_id": "sub_1_1"}] * heard
        deployment: Any = SimpleNamespace(
            sandbox=SimpleNamespace(sends=self.accounts.sends),
            publications=SimpleNamespace(seen=seen),
        )
        by_code = {self.typed.code: [self.typed]}
        module._judge_sends(self.book, deployment, by_code, self.found)
        if logged:
            module._judge_publications(self.book, deployment, [(None, [*logged])], self.found)
        return self.found.violations


@pytest.mark.parametrize(
    ("sends", "sent", "violations"), [(1, True, 0), (2, True, 1), (1, False, 1)]
)
def test_a_send_too_many_is_found(sends: int, sent: bool, violations: int) -> None:
    """Twice, or once although the record says it was not."""
    case = Case()
    case.settle(sent=sent)
    for _ in range(sends):
        case.account.note_send("123456")
    assert len(case.judge()) == violations
    assert case.found.sent_twice == violations


def test_a_send_after_its_redis_was_emptied_is_found() -> None:
    """What an emptied Redis had accepted is never sent: its claim may be forgotten."""
    case = Case()
    case.book.emptied_at.append(0.0)
    case.typed.emptied = True
    case.account.note_send("123456")
    assert "emptied" in str(case.judge())


@pytest.mark.parametrize(("times", "heard", "violations"), [(1, 1, 0), (2, 1, 1), (1, 2, 1)])
def test_a_publication_too_many_is_found(times: int, heard: int, violations: int) -> None:
    """In the stream or on the channel."""
    case = Case()
    record = case.settle(sent=False)
    assert len(case.judge(*[record.to_json()] * times, heard=heard)) == violations


def test_a_violation_ends_with_one_and_says_where_to_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The seed, the submission and the logs, which are kept."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(folder))
    found = Findings(violations=["sub_1_1: sent 2 times"])
    monkeypatch.setattr(module, "run", lambda *_: found)
    assert main(["--seed", "77"]) == 1
    told = capsys.readouterr().out
    assert "VIOLATED sub_1_1" in told
    assert "seed 77" in told
    assert str(folder) in told
    assert folder.exists()
    found.violations.clear()
    assert main(["--seed", "77"]) == 0
    assert not folder.exists()
