"""Every answer of ``commit.lua``, and what one commit writes and tells."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from checkpoint_worker.providers.contract import Cleared, Rejected
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import (
    Begin,
    Cancel,
    Decision,
    DecisionStatus,
    Kill,
    Submit,
    Wake,
)
from checkpoint_worker.tasks.model import IntentState, Settlement, replace
from checkpoint_worker.tasks.operations.validation import unknown_submission
from checkpoint_worker.tasks.storage.executor import ScriptCall, SyncExecutor
from checkpoint_worker.tasks.storage.plan import CommitExtras, CommitPlan
from checkpoint_worker.tasks.storage.views import Snapshot
from tests.store.desk import ACCOUNT, PROVIDER, RESULTS, Desk, Subscriber, raw_submit


class Recorder(SyncExecutor):
    """A door that notes what commits answer, and may lose the first answer."""

    def __init__(self, client: redis.Redis, *, lose: str = "") -> None:
        super().__init__(client)
        self.lose, self.codes = lose, list[str]()

    def _eval(self, call: ScriptCall) -> list[Any]:
        reply = super()._eval(call)
        if call.script == "commit":
            self.codes.append(reply[0])
        if call.script == self.lose:
            self.lose = ""
            message = "the reply was lost"
            raise redis.ConnectionError(message)
        return reply


def submitting(name: str) -> Callable[[Snapshot], Submit]:
    """Return the maker of a submission's event."""
    return lambda seen: raw_submit(seen, name)


def recorded(desk: Desk, *, lose: str = "") -> Recorder:
    """Let the desk go through a door that notes the codes."""
    desk.door = door = Recorder(desk.redis, lose=lose)
    return door


def test_done_tells_how_many_records_were_written(desk: Desk) -> None:
    """The plain case."""
    door = recorded(desk)
    desk.open()
    desk.submit("s1")
    result = desk.bring(lambda seen: raw_submit(seen, "s2"))
    assert door.codes == ["done"] * 3
    assert [record.submission_id for record in result.records] == ["s1"]


def test_a_commit_whose_reply_was_lost_is_recognised_when_repeated(
    desk: Desk, results: Subscriber
) -> None:
    """The door repeats; the token keeps the second run from counting or telling twice."""
    desk.open()
    desk.submit("s1")
    door = recorded(desk, lose="commit")
    submitted = desk.submit("s2")
    assert door.codes == ["done", "again"]
    assert submitted.accepted
    assert desk.intent().seq == 2
    heard = [content["submission_id"] for _, content in results.heard()]
    assert heard == ["s1"]
    assert len(desk.stream()) == 1


def test_a_repeated_open_is_one_generation(desk: Desk) -> None:
    """The login service opened once, whatever the network did."""
    door = recorded(desk, lose="commit")
    assert desk.open().generation == 1
    assert door.codes == ["done", "again"]
    assert desk.intent().generation == 1


def test_a_refusal_whose_reply_was_lost_is_found_again(desk: Desk, results: Subscriber) -> None:
    """No intent, so no token: the record itself tells that it was written."""
    door = recorded(desk, lose="commit")
    submitted = desk.submit("s1")
    assert door.codes == ["done", "taken"]
    assert submitted.outcome.status == 403
    assert len(results.heard()) == len(desk.stream()) == 1


def test_a_token_is_remembered_although_others_committed_meanwhile(desk: Desk) -> None:
    """The repeat comes half a second late; until then seven others may have been faster."""
    desk.open()
    steps = desk.submitting("s1")
    call = next(steps)
    call = steps.send(desk.door._call(call))
    desk.door._call(call)
    for number in range(7):
        desk.bring(submitting(f"x{number}"))
    assert desk.door._call(call)[0] == "again"
    desk.bring(lambda seen: raw_submit(seen, "x7"))
    assert desk.door._call(call)[0] == "conflict"


def test_a_commit_over_another_version_is_refused(desk: Desk) -> None:
    """Compare, then commit: the decision was made on facts that are no more."""
    desk.open()
    steps = desk.submitting("s1")
    call = steps.send(desk.door._call(next(steps)))
    desk.submit("s2")
    before = desk.dump()
    assert desk.door._call(call)[0] == "conflict"
    assert desk.dump() == before


def test_a_claim_decided_in_time_and_committed_late_is_refused(desk: Desk) -> None:
    """t=0 the claim is decided · t=60 the process wakes up and commits → late, not sent."""
    past = desk.ago(60)
    past.open()
    past.submit("s1")
    door = recorded(desk)
    one_read_ago = desk.ago(60, reads=1)
    codes: list[str] = []
    inner = one_read_ago.door._eval
    one_read_ago.door._eval = lambda call: _note(codes, call, inner(call))  # type: ignore[method-assign]
    result = one_read_ago.claim("s1")
    assert codes == ["late", "done"]
    assert result.decision.reply is DecisionStatus.STOP
    record = desk.outcome("s1")
    assert (record.status, record.code_sent) == (504, False)
    assert door.codes == []


def _note(codes: list[str], call: ScriptCall, reply: list[Any]) -> list[Any]:
    if call.script == "commit":
        codes.append(reply[0])
    return reply


def test_a_commit_on_another_redis_than_it_read_is_refused(desk: Desk) -> None:
    """A failover between read and commit: what was read may not be there."""
    desk.open()
    steps = desk.submitting("s1")
    read = next(steps)
    reply = desk.door._call(read)
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    assert desk.door._call(commit)[0] == "moved"
    assert desk.record("s1") is None
    assert steps.send(["moved", reply[0], 0]).script == "read"


def test_a_commit_whose_expectation_fails_is_refused(desk: Desk) -> None:
    """Registered meanwhile for another account: the completing commit must look again."""
    desk.open()
    desk.submit("s1")
    desk.claim("s1")
    key = desk.store.keys.user(PROVIDER, "u1")
    desk.redis.set(key, "somebody else")
    snapshot = desk.door.run(desk.store.read(PROVIDER, ACCOUNT))
    decision = Decision(reply=DecisionStatus.DONE, intent=replace(desk.intent(), failures=1))
    plan = CommitPlan(desk.store, PROVIDER, ACCOUNT, snapshot, decision)
    refused = desk.door.run(desk.store._commit(plan, CommitExtras(expect={key: ""})))
    assert refused is None
    assert desk.intent().failures == 0
    fits = CommitExtras(expect={key: "somebody else"}, delete=(key,))
    assert desk.door.run(desk.store._commit(plan, fits)) is not None
    assert desk.redis.get(key) is None


# What is told ------------------------------------------------------------------------------


def test_when_the_elder_is_heard_final_the_newer_is_queued_already(
    desk: Desk, results: Subscriber
) -> None:
    """One commit: no reader ever sees the elder gone and nobody in its place."""
    desk.open()
    desk.submit("s1")
    desk.submit("s2", "654321")
    [(channel, told)] = results.heard()
    elder, newer = desk.outcome("s1"), desk.outcome("s2")
    assert channel == RESULTS
    assert told == desk.stream()[0]
    assert told["body"]["type"] == "errors/operation_canceled"
    assert (elder.state, elder.superseded_by, elder.code_sent) == ("final", "s2", False)
    assert (newer.state, newer.supersedes) == ("queued", "s1")
    assert elder.to_json() == desk.redis.get(desk.store.keys.result("s1"))


def test_one_account_s_channel_brings_the_same_bytes(desk: Desk) -> None:
    """Stored, published twice and appended are the same JSON."""
    mine = f"{RESULTS}:{ACCOUNT}"
    ear = Subscriber(desk.redis, RESULTS, mine, f"{RESULTS}:acc_2")
    desk.open()
    desk.submit("s1")
    desk.bring(lambda _: Kill())
    heard = ear.heard()
    ear.close()
    assert [channel for channel, _ in heard] == [RESULTS, mine]
    assert heard[0][1] == heard[1][1] == desk.stream()[0]


def test_only_final_records_are_told(desk: Desk, results: Subscriber) -> None:
    """Queued and running are for polling; a channel of outcomes carries outcomes."""
    desk.open()
    desk.submit("s1")
    desk.claim("s1")
    assert results.heard() == []
    assert desk.outcome("s1").state == "running"
    desk.answer("s1", Rejected())
    assert [content["status"] for _, content in results.heard()] == [401]


def test_a_success_no_record_tells_of_is_an_intent_message(desk: Desk) -> None:
    """Superseded, canceled, and then the elder's exchange clears the login all the same."""
    ear = Subscriber(desk.redis, RESULTS, f"{RESULTS}:{ACCOUNT}")
    desk.open()
    desk.submit("s1")
    desk.claim("s1")
    desk.bring(lambda _: Cancel(submission_id="s1"))
    result = desk.answer("s1", Cleared(user_id="u1", session={}))
    assert result.intent is not None
    assert result.intent.state is IntentState.COMPLETED
    heard = ear.heard()
    ear.close()
    assert [(channel, content["state"]) for channel, content in heard] == [
        (RESULTS, "final"),
        (f"{RESULTS}:{ACCOUNT}", "final"),
        (RESULTS, "intent"),
        (f"{RESULTS}:{ACCOUNT}", "intent"),
    ]
    assert desk.stream()[-1] == heard[-1][1]
    assert desk.stream()[-1]["submission_id"] is None


def test_the_stream_is_capped(redis_url: str) -> None:
    """The cap is about right: Redis cuts whole blocks of a hundred."""
    desk = Desk.at(redis_url, outcomes_max=10)
    desk.open()
    for number in range(250):
        desk.bring(submitting(f"s{number}"))
    assert desk.redis.xlen(desk.store.keys.outcomes) <= 110
    desk.redis.close()


# Records without an intent -----------------------------------------------------------------


def orphan(submission_id: str) -> Settlement:
    """Return the outcome of a submission that no intent knows."""
    return Settlement(
        submission=unknown_submission(submission_id, 1_000, 5),
        answer=catalogue.TIMED_OUT,
        code_sent=True,
    )


def test_an_orphan_s_final_record_is_written_once(desk: Desk, results: Subscriber) -> None:
    """Two readers find it at once; the second one changes nothing and says so."""
    first = desk.door.run(desk.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s1"), 2))
    stored = desk.redis.get(desk.store.keys.result("s1"))
    second = desk.door.run(
        desk.store.settle_orphan(PROVIDER, ACCOUNT, replace(orphan("s1"), code_sent=False))
    )
    assert (first, second) == (True, False)
    assert desk.redis.get(desk.store.keys.result("s1")) == stored
    assert (desk.outcome("s1").generation, desk.outcome("s1").seq) == (2, 5)
    assert len(results.heard()) == len(desk.stream()) == 1


def test_an_orphan_is_settled_although_its_account_is_busy(desk: Desk) -> None:
    """A commit in between costs a round, not the outcome: a raw producer hears nothing else."""
    desk.open()
    steps = desk.store.settle_orphan(PROVIDER, ACCOUNT, orphan("raw"))
    commit = steps.send(desk.door._call(next(steps)))
    desk.submit("s1")
    again = steps.send(desk.door._call(commit))
    assert again.script == "read"
    commit = steps.send(desk.door._call(again))
    with pytest.raises(StopIteration) as stop:
        steps.send(desk.door._call(commit))
    assert stop.value.value is True
    assert desk.outcome("raw").status == 504
    assert desk.outcome("s1").state == "queued"


def test_an_orphan_gives_up_when_others_are_always_faster(desk: Desk) -> None:
    """Bounded like every loop over commits."""
    from checkpoint_worker.tasks.storage.executor import LedgerBusyError  # noqa: PLC0415  beside its only use

    steps = desk.store.settle_orphan(PROVIDER, ACCOUNT, orphan("raw"))
    call = next(steps)

    def contend(call: ScriptCall) -> None:
        while True:
            reply = desk.door._call(call) if call.script == "read" else ["conflict", "0", 0]
            call = steps.send(reply)

    with pytest.raises(LedgerBusyError):
        contend(call)


def test_a_submission_its_intent_knows_is_no_orphan(desk: Desk) -> None:
    """It has a deadline of its own and is settled by the rules."""
    desk.open()
    desk.submit("s1")
    assert not desk.door.run(desk.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s1")))
    assert desk.outcome("s1").state == "queued"


# Transact ----------------------------------------------------------------------------------


def test_an_event_that_changes_nothing_writes_nothing(desk: Desk) -> None:
    """A duplicate wake costs one read."""
    desk.open()
    desk.submit("s1")
    before = desk.dump()
    result = desk.bring(lambda seen: Wake(submission_id="s1", run_id=seen.run_id))
    assert result.decision.reply is DecisionStatus.GO
    assert result.intent == result.snapshot.intent
    assert desk.dump() == before


def test_no_event_ends_it(desk: Desk) -> None:
    """Whoever brings events may find on looking that there is none."""
    assert desk.door.run(desk.store.transact(PROVIDER, ACCOUNT, lambda _: None)) is None


def test_what_was_just_read_is_not_read_again(desk: Desk) -> None:
    """The claim starts from what the look before it saw, and looks anew only if it lost."""
    desk.open()
    desk.submit("s1")
    seen = desk.door.run(desk.store.read(PROVIDER, ACCOUNT))
    steps = desk.store.transact(PROVIDER, ACCOUNT, desk.claiming("s1"), start=seen)
    assert next(steps).script == "commit"
    desk.bring(lambda now: Begin(submission_id="s1", claim="c2", worker="w2", run_id=now.run_id))
    commit = desk.store.transact(PROVIDER, ACCOUNT, desk.claiming("s1"), start=seen)
    assert commit.send(desk.door._call(next(commit))).script == "read"


def test_text_of_any_script_survives_the_commit(desk: Desk) -> None:
    """An account id is opaque; it names keys, members and channels alike."""
    account = 'compte "é" 🐘 \\ /'
    ear = Subscriber(desk.redis, f"{RESULTS}:{account}")
    desk.open(account)
    desk.submit("s1", account=account)
    assert desk.redis.zscore(desk.store.keys.due, f"{PROVIDER}:{account}") is not None
    desk.bring(lambda _: Kill(), account)
    heard = ear.heard()
    ear.close()
    assert [content["account_id"] for _, content in heard] == [account]
    assert desk.outcome("s1").account_id == account


def test_what_was_read_from_another_redis_is_not_written_although_the_version_fits(
    desk: Desk,
) -> None:
    """A failover that lost writes counts the same versions again: no answer may go over them."""
    desk.open()
    steps = desk.store.transact(PROVIDER, ACCOUNT, lambda _: Kill())
    reply = desk.door._call(next(steps))
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    assert desk.door._call(commit)[0] == "moved"
    assert desk.intent().state is IntentState.OPEN
