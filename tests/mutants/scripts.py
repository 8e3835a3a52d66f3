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
from tests.mutants.form import Edit
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
COMMIT: Final = "tasks/storage/scripts/commit.lua"


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


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """A guard of the script, and the check that must notice when it is gone."""

    check: Check
    edit: Edit


def _commit(check: Check, old: str, new: str = "") -> Guarded:
    return Guarded(check=check, edit=Edit(file=COMMIT, old=old, new=new))


VERSION = "if version ~= plan.version then\n  return reply('conflict')\nend\n"
XADD = "  redis.call('XADD', stream_key, 'MAXLEN', '~', plan.log_max, '*', 'record', record[2])\n"
PUBLISH = "  redis.call('PUBLISH', record[5], record[2])\n"

SCRIPTS: Final = {
    "version check removed from commit.lua": _commit(races, VERSION),
    "supersede checked outside the commit": _commit(reopened_keeps_no_old_version, VERSION),
    'record written without "if absent"': _commit(
        final_once,
        "if not (old and state_of(old) == 'final') then",
        "if true then",
    ),
    "final record leaves the code": _commit(
        final_without_code,
        "if plan.del[1] then\n  redis.call('DEL', unpack(plan.del))\nend\n",
    ),
    "publish outside the commit": _commit(told_by_the_commit, PUBLISH),
    "outcome missing from the stream": _commit(
        in_the_stream,
        XADD,
    ),
    "no `not_after` in the commit": _commit(
        never_claimed_late,
        "if plan.not_after and now_ms > plan.not_after then",
        "if false then",
    ),
    "`run_id` ignored": _commit(
        never_claimed_elsewhere,
        "if run_id ~= plan.run_id then",
        "if false then",
    ),
    "expectations ignored": _commit(
        one_id_one_account,
        "if (redis.call('GET', key) or '') ~= value then",
        "if false then",
    ),
    "a repeat is not recognised": _commit(
        repeats_count_once,
        "if token == plan.token then",
        "if false then",
    ),
}
"""By what is wrong then."""
