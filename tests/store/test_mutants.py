"""The guards of the commit, each taken out once: the check of its promise must notice.

A check returns what is wrong. With the script as it is that is nothing; with the guard
removed it must be something, else the check guards nothing. Names are those of the list of
mutants a suite must catch.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from checkpoint_worker.tasks.events import Cancel
from checkpoint_worker.tasks.model import replace
from checkpoint_worker.tasks.storage import executor as ledger
from checkpoint_worker.tasks.storage.executor import Script
from checkpoint_worker.tasks.storage.plan import CommitPlan
from tests.store.desk import (
    ACCOUNT,
    PROVIDER,
    RESULTS,
    Desk,
    Subscriber,
    in_lockstep,
    race_violations,
)
from tests.store.test_commit import orphan, recorded

Check = Callable[[Desk], list[str]]


def races(desk: Desk) -> list[str]:
    """Seven submissions, interleaved: one record, one message, one entry for each."""
    ear = Subscriber(desk.redis, RESULTS)
    desk.open()
    ids = [f"s{number}" for number in range(7)]
    in_lockstep(desk, [desk.submitting(name) for name in ids], random.Random(7))
    found = race_violations(desk, ids, ear.heard())
    ear.close()
    return found


def final_once(desk: Desk) -> list[str]:
    """A final record is never changed, nor told again."""
    settlement = orphan("s1")
    desk.door.run(desk.store.settle_orphan(PROVIDER, ACCOUNT, settlement))
    first = desk.redis.get(desk.store.keys.result("s1"))
    other = replace(settlement, code_sent=False)
    desk.door.run(desk.store.settle_orphan(PROVIDER, ACCOUNT, other))
    wrong = [] if desk.redis.get(desk.store.keys.result("s1")) == first else ["changed"]
    return wrong if len(desk.stream()) == 1 else [*wrong, "told twice"]


def final_without_code(desk: Desk) -> list[str]:
    """The sealed code is in Redis only while it is queued or begun."""
    desk.open()
    desk.submit("s1")
    assert desk.redis.exists(desk.store.keys.solution("s1")) == 1
    desk.bring(lambda _: Cancel(submission_id="s1"))
    return ["the code is still there"] if desk.redis.exists(desk.store.keys.solution("s1")) else []


def claimed_without_code(desk: Desk) -> list[str]:
    """The claim takes the code out of Redis for ever."""
    desk.open()
    desk.submit("s1")
    desk.claim("s1")
    assert desk.outcome("s1").state == "running"
    return ["the code is still there"] if desk.redis.exists(desk.store.keys.solution("s1")) else []


def told_by_the_commit(desk: Desk) -> list[str]:
    """Whoever asks after the commit's reply finds its message sent."""
    ear = Subscriber(desk.redis, RESULTS)
    desk.open()
    desk.submit("s1")
    desk.bring(lambda _: Cancel(submission_id="s1"))
    heard = ear.heard()
    ear.close()
    return [] if len(heard) == 1 else [f"{len(heard)} messages"]


def in_the_stream(desk: Desk) -> list[str]:
    """Readers who may not miss one find every final record in the stream."""
    desk.submit("s1")
    return [] if len(desk.stream()) == 1 else [f"{len(desk.stream())} entries"]


def never_claimed_late(desk: Desk) -> list[str]:
    """A claim decided in time and committed after its moment is refused."""
    past = desk.ago(60)
    past.open()
    past.submit("s1")
    desk.ago(60, reads=1).claim("s1")
    return ["claimed"] if desk.outcome("s1").started_at is not None else []


def never_claimed_elsewhere(desk: Desk) -> list[str]:
    """A decision read from another Redis is not carried out on this one."""
    desk.open()
    steps = desk.submitting("s1")
    reply = desk.door._call(next(steps))
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    return ["accepted"] if desk.door._call(commit)[0] == "done" else []


def one_id_one_account(desk: Desk) -> list[str]:
    """An id belongs to one account, also when two ask in the same instant."""
    desk.open("a")
    desk.open("b")
    first, second = (desk.submitting("s1", account=account) for account in "ab")
    calls = [steps.send(desk.door._call(next(steps))) for steps in (first, second)]
    codes = [desk.door._call(call)[0] for call in calls]
    return [] if codes == ["done", "taken"] else [f"{codes}"]


def repeats_count_once(desk: Desk) -> list[str]:
    """A repeated open is one generation."""
    recorded(desk, lose="commit")
    desk.open()
    return [] if desk.intent().generation == 1 else ["opened twice"]


def reopened_keeps_no_old_version(desk: Desk) -> list[str]:
    """`tests.store.desk.race_violations` on intents that did not exist when it was decided."""
    ids = ["s1", "s2"]
    openers = [desk.submitting(name) for name in ids]
    calls = [steps.send(desk.door._call(next(steps))) for steps in openers]
    desk.open()
    codes = [desk.door._call(call)[0] for call in calls]
    return [] if codes == ["conflict", "conflict"] else [f"{codes}"]


@dataclass(frozen=True)
class Mutant:
    """A guard: the text of the script that is replaced, and who must notice."""

    name: str
    check: Check
    old: str
    new: str = ""
    script: str = "commit"


VERSION = "if version ~= plan.version then\n  return reply('conflict')\nend\n"
XADD = "  redis.call('XADD', stream_key, 'MAXLEN', '~', plan.log_max, '*', 'record', record[2])\n"
PUBLISH = "  redis.call('PUBLISH', record[5], record[2])\n"

MUTANTS = [
    Mutant("version check removed from commit.lua", races, VERSION),
    Mutant("supersede checked outside the commit", reopened_keeps_no_old_version, VERSION),
    Mutant(
        'record written without "if absent"',
        final_once,
        "if not (old and state_of(old) == 'final') then",
        "if true then",
    ),
    Mutant(
        "final record leaves the code",
        final_without_code,
        "if plan.del[1] then\n  redis.call('DEL', unpack(plan.del))\nend\n",
    ),
    Mutant("publish outside the commit", told_by_the_commit, PUBLISH),
    Mutant(
        "outcome missing from the stream",
        in_the_stream,
        XADD,
    ),
    Mutant(
        "no `not_after` in the commit",
        never_claimed_late,
        "if plan.not_after and now_ms > plan.not_after then",
        "if false then",
    ),
    Mutant(
        "`run_id` ignored",
        never_claimed_elsewhere,
        "if run_id ~= plan.run_id then",
        "if false then",
    ),
    Mutant(
        "expectations ignored",
        one_id_one_account,
        "if (redis.call('GET', key) or '') ~= value then",
        "if false then",
    ),
    Mutant(
        "a repeat is not recognised",
        repeats_count_once,
        "if token == plan.token then",
        "if false then",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_commit_with_its_guard_keeps_the_promise(desk: Desk, mutant: Mutant) -> None:
    """The check that must catch the mutant finds nothing wrong without it."""
    assert mutant.check(desk) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_commit_without_its_guard_is_noticed(
    desk: Desk, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each guard is there for a reason that a test can tell."""
    whole = ledger.script
    text = whole(mutant.script).text
    assert text.count(mutant.old) == 1
    changed = text.replace(mutant.old, mutant.new)
    sha = hashlib.sha1(changed.encode(), usedforsecurity=False).hexdigest()

    def mutated(name: str) -> Script:
        return Script(changed, sha) if name == mutant.script else whole(name)

    monkeypatch.setattr(ledger, "script", mutated)
    assert mutant.check(desk) != []


def test_a_claim_takes_the_code_out_of_redis(desk: Desk) -> None:
    """The promise that the next test breaks."""
    assert claimed_without_code(desk) == []


def test_a_claim_that_leaves_the_code_is_noticed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant of the plan: only outcomes take the solution out."""

    def only_settled(plan: CommitPlan) -> list[str]:
        settled = (item.submission.id for item in plan.decision.settled)
        return [plan.keys.solution(name) for name in settled]

    monkeypatch.setattr(CommitPlan, "_spent_solutions", only_settled)
    assert claimed_without_code(desk) != []
