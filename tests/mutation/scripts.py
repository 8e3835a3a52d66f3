"""The guards of the commit, each taken out once: the check of its promise must notice.

A check returns what is wrong. With the script as it is that is nothing; with the guard
removed it must be something, else the check guards nothing. Names are those of the list of
mutants a suite must catch.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from checkpoint_worker.tasks.events import Cancel
from checkpoint_worker.tasks.model import replace
from tests.mutation.form import Edit
from tests.support.commits import orphan, recorded
from tests.support.ledger_fixture import (
    ACCOUNT,
    PROVIDER,
    RESULTS,
    LedgerFixture,
    Subscriber,
    in_lockstep,
    race_violations,
)

Check = Callable[[LedgerFixture], list[str]]
COMMIT: Final = "tasks/storage/scripts/commit.lua"


def races(ledger: LedgerFixture) -> list[str]:
    """Seven submissions, interleaved: one record, one message, one entry for each."""
    ear = Subscriber(ledger.redis, RESULTS)
    ledger.open()
    ids = [f"s{number}" for number in range(7)]
    in_lockstep(ledger, [ledger.submitting(name) for name in ids], random.Random(7))
    found = race_violations(ledger, ids, ear.heard())
    ear.close()
    return found


def final_once(ledger: LedgerFixture) -> list[str]:
    """A final record is never changed, nor told again."""
    settlement = orphan("s1")
    ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, settlement))
    first = ledger.redis.get(ledger.store.keys.result("s1"))
    other = replace(settlement, code_sent=False)
    ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, other))
    wrong = [] if ledger.redis.get(ledger.store.keys.result("s1")) == first else ["changed"]
    return wrong if len(ledger.stream()) == 1 else [*wrong, "told twice"]


def final_without_code(ledger: LedgerFixture) -> list[str]:
    """The sealed code is in Redis only while it is queued or begun."""
    ledger.accepted("s1")
    assert ledger.redis.exists(ledger.store.keys.solution("s1")) == 1
    ledger.bring(lambda _: Cancel(submission_id="s1"))
    return (
        ["the code is still there"] if ledger.redis.exists(ledger.store.keys.solution("s1")) else []
    )


def claimed_without_code(ledger: LedgerFixture) -> list[str]:
    """The claim takes the code out of Redis for ever."""
    ledger.claimed("s1")
    assert ledger.outcome("s1").state == "running"
    return (
        ["the code is still there"] if ledger.redis.exists(ledger.store.keys.solution("s1")) else []
    )


def told_by_the_commit(ledger: LedgerFixture) -> list[str]:
    """A read after the commit's reply finds its message sent."""
    ear = Subscriber(ledger.redis, RESULTS)
    ledger.accepted("s1")
    ledger.bring(lambda _: Cancel(submission_id="s1"))
    heard = ear.heard()
    ear.close()
    return [] if len(heard) == 1 else [f"{len(heard)} messages"]


def in_the_stream(ledger: LedgerFixture) -> list[str]:
    """Readers who may not miss one find every final record in the stream."""
    ledger.submit("s1")
    return [] if len(ledger.stream()) == 1 else [f"{len(ledger.stream())} entries"]


def never_claimed_late(ledger: LedgerFixture) -> list[str]:
    """A claim decided in time and committed after its moment is refused."""
    past = ledger.ago(60)
    past.open()
    past.submit("s1")
    ledger.ago(60, reads=1).claim("s1")
    return ["claimed"] if ledger.outcome("s1").started_at is not None else []


def never_claimed_elsewhere(ledger: LedgerFixture) -> list[str]:
    """A decision read from another Redis is not carried out on this one."""
    ledger.open()
    steps = ledger.submitting("s1")
    reply = ledger.executor._call(next(steps))
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    return ["accepted"] if ledger.executor._call(commit)[0] == "done" else []


def one_id_one_account(ledger: LedgerFixture) -> list[str]:
    """An id belongs to one account, also when two ask in the same instant."""
    ledger.open("a")
    ledger.open("b")
    first, second = (ledger.submitting("s1", account=account) for account in "ab")
    calls = [steps.send(ledger.executor._call(next(steps))) for steps in (first, second)]
    codes = [ledger.executor._call(call)[0] for call in calls]
    return [] if codes == ["done", "taken"] else [f"{codes}"]


def repeats_count_once(ledger: LedgerFixture) -> list[str]:
    """A repeated open is one generation."""
    recorded(ledger, lose="commit")
    ledger.open()
    return [] if ledger.intent().generation == 1 else ["opened twice"]


def reopened_keeps_no_old_version(ledger: LedgerFixture) -> list[str]:
    """`tests.support.ledger_fixture.race_violations`, of intents that did not exist then."""
    ids = ["s1", "s2"]
    openers = [ledger.submitting(name) for name in ids]
    calls = [steps.send(ledger.executor._call(next(steps))) for steps in openers]
    ledger.open()
    codes = [ledger.executor._call(call)[0] for call in calls]
    return [] if codes == ["conflict", "conflict"] else [f"{codes}"]


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A guard of the script, and the check that must notice when it is gone."""

    check: Check
    edit: Edit


def _commit(check: Check, old: str, new: str = "") -> Guarded:
    return Guarded(check=check, edit=Edit(file=COMMIT, old=old, new=new))


VERSION = "if version ~= expected then\n  return reply('conflict')\nend\n"
XADD = "  redis.call('XADD', stream_key, 'MAXLEN', '~', ARGV[13], '*', 'record', text)\n"
PUBLISH = "  redis.call('PUBLISH', ARGV[14], text)\n"

SCRIPTS: Final = {
    "version check removed from commit.lua": _commit(races, VERSION),
    "supersede checked outside the commit": _commit(reopened_keeps_no_old_version, VERSION),
    'record written without "if absent"': _commit(
        final_once,
        "if not (old and is_final(old)) then",
        "if true then",
    ),
    "final record leaves the code": _commit(
        final_without_code,
        "if removals > 0 then",
        "if false then",
    ),
    "publish outside the commit": _commit(told_by_the_commit, PUBLISH),
    "outcome missing from the stream": _commit(
        in_the_stream,
        XADD,
    ),
    "no `not_after` in the commit": _commit(
        never_claimed_late,
        "if not_after and now_ms > not_after then",
        "if false then",
    ),
    "`run_id` ignored": _commit(
        never_claimed_elsewhere,
        "if identity() ~= expected_identity then",
        "if false then",
    ),
    "expectations ignored": _commit(
        one_id_one_account,
        "if (redis.call('GET', KEYS[key_at]) or '') ~= ARGV[at] then",
        "if false then",
    ),
    "a repeat is not recognised": _commit(
        repeats_count_once,
        "if string.find(tokens, '\"' .. token .. '\"', 1, true) then",
        "if false then",
    ),
}
"""By what is wrong then."""
