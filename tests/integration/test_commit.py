"""Every answer of ``commit.lua``, and what one commit writes and tells."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from checkpoint_worker.providers.contract import Cleared, Rejected
from checkpoint_worker.tasks.events import (
    Begin,
    Cancel,
    Decision,
    DecisionStatus,
    Kill,
    Submit,
    Wake,
)
from checkpoint_worker.tasks.model import IntentState, replace
from checkpoint_worker.tasks.storage.executor import ScriptCall
from checkpoint_worker.tasks.storage.plan import CommitExtras, CommitPlan
from checkpoint_worker.tasks.storage.views import Snapshot
from tests.support.commits import orphan, recorded
from tests.support.ledger_fixture import (
    ACCOUNT,
    PROVIDER,
    RESULTS,
    LedgerFixture,
    Subscriber,
    raw_submit,
)


def submitting(name: str) -> Callable[[Snapshot], Submit]:
    """Return the maker of a submission's event."""
    return lambda seen: raw_submit(seen, name)


def test_done_tells_how_many_records_were_written(ledger: LedgerFixture) -> None:
    """The plain case."""
    executor = recorded(ledger)
    ledger.accepted("s1")
    result = ledger.bring(lambda seen: raw_submit(seen, "s2"))
    assert executor.codes == ["done"] * 3
    assert [record.submission_id for record in result.records] == ["s1"]


def test_a_commit_whose_reply_was_lost_is_recognised_when_repeated(
    ledger: LedgerFixture, results: Subscriber
) -> None:
    """The executor repeats; the token keeps the second run from counting or telling twice."""
    ledger.accepted("s1")
    executor = recorded(ledger, lose="commit")
    submitted = ledger.submit("s2")
    assert executor.codes == ["done", "again"]
    assert submitted.accepted
    assert ledger.intent().seq == 2
    heard = [content["submission_id"] for _, content in results.heard()]
    assert heard == ["s1"]
    assert len(ledger.stream()) == 1


def test_a_repeated_open_is_one_generation(ledger: LedgerFixture) -> None:
    """The login service opened once, whatever the network did."""
    executor = recorded(ledger, lose="commit")
    assert ledger.open().generation == 1
    assert executor.codes == ["done", "again"]
    assert ledger.intent().generation == 1


def test_a_refusal_whose_reply_was_lost_is_found_again(
    ledger: LedgerFixture, results: Subscriber
) -> None:
    """No intent, so no token: the record itself tells that it was written."""
    executor = recorded(ledger, lose="commit")
    submitted = ledger.submit("s1")
    assert executor.codes == ["done", "taken"]
    assert submitted.outcome.status == 403
    assert len(results.heard()) == len(ledger.stream()) == 1


def test_a_token_is_remembered_although_others_committed_meanwhile(ledger: LedgerFixture) -> None:
    """The repeat comes half a second late; until then seven others may have been faster."""
    ledger.open()
    steps = ledger.submitting("s1")
    call = next(steps)
    call = steps.send(ledger.executor._call(call))
    ledger.executor._call(call)
    for number in range(7):
        ledger.bring(submitting(f"x{number}"))
    assert ledger.executor._call(call)[0] == "again"
    ledger.bring(lambda seen: raw_submit(seen, "x7"))
    assert ledger.executor._call(call)[0] == "conflict"


def test_a_commit_over_another_version_is_refused(ledger: LedgerFixture) -> None:
    """Compare, then commit: the decision was made on facts that are no more."""
    ledger.open()
    steps = ledger.submitting("s1")
    call = steps.send(ledger.executor._call(next(steps)))
    ledger.submit("s2")
    before = ledger.dump()
    assert ledger.executor._call(call)[0] == "conflict"
    assert ledger.dump() == before


def rewritten(ledger: LedgerFixture, key: str) -> None:
    """Give the JSON under a key the order and spaces of another version."""
    stored = json.loads(str(ledger.redis.get(key)))
    ledger.redis.set(key, json.dumps(dict(sorted(stored.items())), indent=1), keepttl=True)


def test_the_order_of_a_stored_intent_is_no_contract(ledger: LedgerFixture) -> None:
    """Versions before write other fields first; version and tokens are found all the same."""
    key = ledger.store.keys.intent(PROVIDER, ACCOUNT)
    ledger.open()
    first, second = ledger.submitting("s1"), ledger.submitting("s2")
    calls = [steps.send(ledger.executor._call(next(steps))) for steps in (first, second)]
    rewritten(ledger, key)
    assert ledger.executor._call(calls[0])[0] == "done"
    rewritten(ledger, key)
    assert ledger.executor._call(calls[0])[0] == "again"
    assert ledger.executor._call(calls[1])[0] == "conflict"
    assert ledger.intent().seq == 1


def test_the_order_of_a_stored_record_is_no_contract(ledger: LedgerFixture) -> None:
    """A final record stays as it is, and one that waits is replaced."""
    waiting, final = (ledger.store.keys.result(name) for name in ("s1", "s2"))
    ledger.open()
    ledger.submit("s1")
    rewritten(ledger, waiting)
    ledger.claim("s1")
    assert ledger.outcome("s1").state == "running"
    ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s2")))
    rewritten(ledger, final)
    stored = ledger.redis.get(final)
    assert not ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s2")))
    assert ledger.redis.get(final) == stored
    assert len(ledger.stream()) == 1


def test_a_claim_decided_in_time_and_committed_late_is_refused(ledger: LedgerFixture) -> None:
    """t=0 the claim is decided · t=60 the process wakes up and commits → late, not sent."""
    past = ledger.ago(60)
    past.open()
    past.submit("s1")
    executor = recorded(ledger)
    one_read_ago = ledger.ago(60, reads=1)
    codes: list[str] = []
    inner = one_read_ago.executor._eval
    one_read_ago.executor._eval = lambda call: _note(codes, call, inner(call))  # type: ignore[method-assign]
    result = one_read_ago.claim("s1")
    assert codes == ["late", "done"]
    assert result.decision.reply is DecisionStatus.STOP
    record = ledger.outcome("s1")
    assert (record.status, record.code_sent) == (504, False)
    assert executor.codes == []


def _note(codes: list[str], call: ScriptCall, reply: list[Any]) -> list[Any]:
    if call.script == "commit":
        codes.append(reply[0])
    return reply


def test_a_commit_on_another_redis_than_it_read_is_refused(ledger: LedgerFixture) -> None:
    """A failover between read and commit: what was read may not be there."""
    ledger.open()
    steps = ledger.submitting("s1")
    read = next(steps)
    reply = ledger.executor._call(read)
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    assert ledger.executor._call(commit)[0] == "moved"
    assert ledger.record("s1") is None
    assert steps.send(["moved", reply[0], 0]).script == "read"


def test_a_commit_whose_expectation_fails_is_refused(ledger: LedgerFixture) -> None:
    """Registered meanwhile for another account: the completing commit must look again."""
    ledger.claimed("s1")
    key = ledger.store.keys.user(PROVIDER, "u1")
    ledger.redis.set(key, "somebody else")
    snapshot = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT))
    decision = Decision(reply=DecisionStatus.DONE, intent=replace(ledger.intent(), failures=1))
    plan = CommitPlan(ledger.store, PROVIDER, ACCOUNT, snapshot, decision)
    refused = ledger.executor.run(ledger.store._commit(plan, CommitExtras(expect={key: ""})))
    assert refused is None
    assert ledger.intent().failures == 0
    fits = CommitExtras(expect={key: "somebody else"}, delete=(key,))
    assert ledger.executor.run(ledger.store._commit(plan, fits)) is not None
    assert ledger.redis.get(key) is None


# What is told ------------------------------------------------------------------------------


def test_when_the_older_one_is_heard_final_the_newer_is_queued_already(
    ledger: LedgerFixture, results: Subscriber
) -> None:
    """One commit: no reader ever sees the older one gone and nobody in its place."""
    ledger.accepted("s1")
    ledger.submit("s2", "654321")
    [(channel, told)] = results.heard()
    older, newer = ledger.outcome("s1"), ledger.outcome("s2")
    assert channel == RESULTS
    assert told == ledger.stream()[0]
    assert told["body"]["type"] == "errors/operation_canceled"
    assert (older.state, older.superseded_by, older.code_sent) == ("final", "s2", False)
    assert (newer.state, newer.supersedes) == ("queued", "s1")
    assert older.to_json() == ledger.redis.get(ledger.store.keys.result("s1"))


def test_one_account_s_channel_brings_the_same_bytes(ledger: LedgerFixture) -> None:
    """Stored, published twice and appended are the same JSON."""
    mine = f"{RESULTS}:{ACCOUNT}"
    ear = Subscriber(ledger.redis, RESULTS, mine, f"{RESULTS}:acc_2")
    ledger.accepted("s1")
    ledger.bring(lambda _: Kill())
    heard = ear.heard()
    ear.close()
    assert [channel for channel, _ in heard] == [RESULTS, mine]
    assert heard[0][1] == heard[1][1] == ledger.stream()[0]


def test_only_final_records_are_told(ledger: LedgerFixture, results: Subscriber) -> None:
    """Queued and running are for polling; a channel of outcomes carries outcomes."""
    ledger.claimed("s1")
    assert results.heard() == []
    assert ledger.outcome("s1").state == "running"
    ledger.answer("s1", Rejected())
    assert [content["status"] for _, content in results.heard()] == [401]


def test_a_success_no_record_tells_of_is_an_intent_message(ledger: LedgerFixture) -> None:
    """Superseded, canceled, and then the older one's exchange clears the login all the same."""
    ear = Subscriber(ledger.redis, RESULTS, f"{RESULTS}:{ACCOUNT}")
    ledger.claimed("s1")
    ledger.bring(lambda _: Cancel(submission_id="s1"))
    result = ledger.answer("s1", Cleared(user_id="u1", session={}))
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
    assert ledger.stream()[-1] == heard[-1][1]
    assert ledger.stream()[-1]["submission_id"] is None


def test_the_stream_is_capped(redis_url: str) -> None:
    """The cap is about right: Redis cuts whole blocks of a hundred."""
    ledger = LedgerFixture.at(redis_url, outcomes_max=10)
    ledger.open()
    for number in range(250):
        ledger.bring(submitting(f"s{number}"))
    assert ledger.redis.xlen(ledger.store.keys.outcomes) <= 110
    ledger.redis.close()


# Records without an intent -----------------------------------------------------------------


def test_an_orphan_s_final_record_is_written_once(
    ledger: LedgerFixture, results: Subscriber
) -> None:
    """Two readers find it at once; the second one changes nothing and says so."""
    first = ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s1"), 2))
    stored = ledger.redis.get(ledger.store.keys.result("s1"))
    second = ledger.executor.run(
        ledger.store.settle_orphan(PROVIDER, ACCOUNT, replace(orphan("s1"), code_sent=False))
    )
    assert (first, second) == (True, False)
    assert ledger.redis.get(ledger.store.keys.result("s1")) == stored
    assert (ledger.outcome("s1").generation, ledger.outcome("s1").seq) == (2, 5)
    assert len(results.heard()) == len(ledger.stream()) == 1


def test_an_orphan_is_settled_although_its_account_is_busy(ledger: LedgerFixture) -> None:
    """A commit in between costs a round, not the outcome: a raw producer hears nothing else."""
    ledger.open()
    steps = ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("raw"))
    commit = steps.send(ledger.executor._call(next(steps)))
    ledger.submit("s1")
    again = steps.send(ledger.executor._call(commit))
    assert again.script == "read"
    commit = steps.send(ledger.executor._call(again))
    with pytest.raises(StopIteration) as stop:
        steps.send(ledger.executor._call(commit))
    assert stop.value.value is True
    assert ledger.outcome("raw").status == 504
    assert ledger.outcome("s1").state == "queued"


def test_an_orphan_gives_up_when_others_are_always_faster(ledger: LedgerFixture) -> None:
    """Bounded like every loop over commits."""
    from checkpoint_worker.tasks.storage.executor import LedgerBusyError  # noqa: PLC0415  beside its only use

    steps = ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("raw"))
    call = next(steps)

    def contend(call: ScriptCall) -> None:
        while True:
            reply = ledger.executor._call(call) if call.script == "read" else ["conflict", "0", 0]
            call = steps.send(reply)

    with pytest.raises(LedgerBusyError):
        contend(call)


def test_a_submission_its_intent_knows_is_no_orphan(ledger: LedgerFixture) -> None:
    """It has a deadline of its own and is settled by the rules."""
    ledger.accepted("s1")
    assert not ledger.executor.run(ledger.store.settle_orphan(PROVIDER, ACCOUNT, orphan("s1")))
    assert ledger.outcome("s1").state == "queued"


# Transact ----------------------------------------------------------------------------------


def test_an_event_that_changes_nothing_writes_nothing(ledger: LedgerFixture) -> None:
    """A duplicate wake costs one read."""
    ledger.accepted("s1")
    before = ledger.dump()
    result = ledger.bring(lambda seen: Wake(submission_id="s1", run_id=seen.run_id))
    assert result.decision.reply is DecisionStatus.GO
    assert result.intent == result.snapshot.intent
    assert ledger.dump() == before


def test_no_event_ends_it(ledger: LedgerFixture) -> None:
    """A caller with events may find on looking that there is none."""
    assert ledger.executor.run(ledger.store.transact(PROVIDER, ACCOUNT, lambda _: None)) is None


def test_what_was_just_read_is_not_read_again(ledger: LedgerFixture) -> None:
    """The claim starts from what the look before it saw, and looks anew only if it lost."""
    ledger.accepted("s1")
    seen = ledger.executor.run(ledger.store.read(PROVIDER, ACCOUNT))
    steps = ledger.store.transact(PROVIDER, ACCOUNT, ledger.claiming("s1"), start=seen)
    assert next(steps).script == "commit"
    ledger.bring(lambda now: Begin(submission_id="s1", claim="c2", worker="w2", run_id=now.run_id))
    commit = ledger.store.transact(PROVIDER, ACCOUNT, ledger.claiming("s1"), start=seen)
    assert commit.send(ledger.executor._call(next(commit))).script == "read"


def test_text_of_any_script_survives_the_commit(ledger: LedgerFixture) -> None:
    """An account id is opaque; it names keys, members and channels alike."""
    account = 'compte "é" 🐘 \\ /'
    ear = Subscriber(ledger.redis, f"{RESULTS}:{account}")
    ledger.open(account)
    ledger.submit("s1", account=account)
    assert ledger.redis.zscore(ledger.store.keys.due, f"{PROVIDER}:{account}") is not None
    ledger.bring(lambda _: Kill(), account)
    heard = ear.heard()
    ear.close()
    assert [content["account_id"] for _, content in heard] == [account]
    assert ledger.outcome("s1").account_id == account


def test_what_was_read_from_another_redis_is_not_written_although_the_version_fits(
    ledger: LedgerFixture,
) -> None:
    """A failover that lost writes counts the same versions again: no answer may go over them."""
    ledger.open()
    steps = ledger.store.transact(PROVIDER, ACCOUNT, lambda _: Kill())
    reply = ledger.executor._call(next(steps))
    commit = steps.send([reply[0], "0" * 40, *reply[2:]])
    assert ledger.executor._call(commit)[0] == "moved"
    assert ledger.intent().state is IntentState.OPEN
