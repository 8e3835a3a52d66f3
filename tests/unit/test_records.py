"""The record, byte for byte as the contract prints it."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from checkpoint_worker.providers.contract import Checkpoint
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import CeleryState, Pair, Success
from checkpoint_worker.tasks.model import IntentState, Settlement, replace
from checkpoint_worker.tasks.records import (
    IntentView,
    Outcome,
    RecordState,
    final_record,
    intent_message,
    timestamp,
    waiting_record,
)
from tests.support.builders import CLAIMED, COMPLETED, IDLE, QUEUED, STARTED, SUB

FIELDS = [
    *("v", "submission_id", "account_id", "provider", "generation", "seq", "state", "status"),
    *("body", "intent", "code_sent", "supersedes", "superseded_by"),
    *("queued_at", "started_at", "finished_at"),
]
ROOT = Path(__file__).parents[2]


def final(answer: Pair | Success, **more: object) -> Outcome:
    """Return the final record of the claimed submission."""
    given: dict[str, object] = {"code_sent": True, **more}
    settlement = Settlement(submission=STARTED, answer=answer, **given)  # type: ignore[arg-type]
    return final_record(
        "acc_1", "LINKEDIN", settlement, 1_012_345, before=CLAIMED, after=replace(IDLE, failures=1)
    )


def test_a_final_error_is_written_as_the_contract_prints_it() -> None:
    """The record has the order of the fields, the form of the times and the whole envelope."""
    record = final(catalogue.CANCELED, code_sent=False, superseded_by="s2")
    assert record.to_json() == (
        '{"v":1,"submission_id":"s1","account_id":"acc_1","provider":"LINKEDIN",'
        '"generation":1,"seq":1,"state":"final","status":409,'
        '"body":{"object":"Error","type":"errors/operation_canceled",'
        '"title":"Operation canceled","status":409,'
        '"detail":"A later operation canceled this one.","instance":"s1","req_id":"s1"},'
        '"intent":{"state":"open","failures":1,"failures_left":2,'
        '"expires_at":"1970-01-01T00:20:40.000Z"},'
        '"code_sent":false,"supersedes":null,"superseded_by":"s2",'
        '"queued_at":"1970-01-01T00:16:30.000Z","started_at":"1970-01-01T00:16:36.000Z",'
        '"finished_at":"1970-01-01T00:16:52.345Z"}'
    )


def test_a_queued_record_is_written_with_all_fields() -> None:
    """Null where nothing applies yet, never absent: a reader may index without asking."""
    record = waiting_record("acc_1", "LINKEDIN", QUEUED, SUB, RecordState.QUEUED)
    assert record.to_json() == (
        '{"v":1,"submission_id":"s1","account_id":"acc_1","provider":"LINKEDIN",'
        '"generation":1,"seq":1,"state":"queued","status":null,"body":null,'
        '"intent":{"state":"open","failures":0,"failures_left":3,'
        '"expires_at":"1970-01-01T00:20:40.000Z"},'
        '"code_sent":null,"supersedes":null,"superseded_by":null,'
        '"queued_at":"1970-01-01T00:16:30.000Z","started_at":null,"finished_at":null}'
    )


def test_a_running_record_says_that_the_code_may_be_out() -> None:
    """Running means claimed."""
    record = waiting_record("acc_1", "LINKEDIN", CLAIMED, STARTED, RecordState.RUNNING)
    told = json.loads(record.to_json())
    assert list(told) == FIELDS
    assert (told["state"], told["code_sent"]) == ("running", True)
    assert told["started_at"] == "1970-01-01T00:16:36.000Z"


def test_without_an_intent_the_record_says_so_in_three_fields() -> None:
    """The three fields are ``intent: null, generation: 0, seq: 0``."""
    settlement = Settlement(
        submission=replace(SUB, seq=type(SUB.seq)(0)),
        answer=catalogue.UNKNOWN_CONTEXT,
        code_sent=False,
    )
    record = final_record("acc_1", "LINKEDIN", settlement, 1, before=None, after=None)
    told = json.loads(record.to_json())
    assert (told["intent"], told["generation"], told["seq"]) == (None, 0, 0)
    assert told["body"]["type"] == "errors/unknown_authentication_context"


def test_an_intent_message_has_no_submission() -> None:
    """Channel and stream carry it where no submission's record reports the success."""
    told = json.loads(intent_message(COMPLETED, 1_000_000).to_json())
    assert list(told) == FIELDS
    assert (told["submission_id"], told["state"]) == (None, "intent")
    assert told["intent"]["state"] == "completed"
    assert told["finished_at"] == "1970-01-01T00:16:40.000Z"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (Success.CREATED, 201, {"object": "AccountCreated", "account_id": "acc_1"}),
        (Success.RECONNECTED, 201, {"object": "AccountReconnected", "account_id": "acc_1"}),
        (
            Success.CHECKPOINT,
            202,
            {
                "object": "Checkpoint",
                "account_id": "acc_1",
                "checkpoint": {"type": "OTP", "source": "EMAIL"},
            },
        ),
    ],
)
def test_successes_have_the_bodies_of_the_contract(
    answer: Success, status: int, body: dict[str, object]
) -> None:
    """Each success has its status and its body."""
    record = final(answer)
    assert (record.status, record.body) == (status, body)
    assert record.error is None
    assert record.celery_state is CeleryState.SUCCESS


def test_a_checkpoint_of_an_intent_that_is_gone_is_empty() -> None:
    """It cannot happen by the rules; a record is written all the same."""
    settlement = Settlement(submission=SUB, answer=Success.CHECKPOINT, code_sent=True)
    record = final_record("a", "LINKEDIN", settlement, 1, before=None, after=None)
    assert record.body == {"object": "Checkpoint", "account_id": "a", "checkpoint": {}}
    assert Checkpoint(type="OTP").as_wire() == {"type": "OTP", "source": None}


@pytest.mark.parametrize(
    "row", catalogue.PAIRS.values(), ids=lambda row: f"{row.status} {row.type}"
)
def test_a_final_error_knows_its_row_and_how_celery_shows_it(row: Pair) -> None:
    """A reader branches on the pair, Flower on the state; both come from the one table."""
    record = Outcome.model_validate_json(final(row).to_json())
    assert record.is_final
    assert record.error is row
    assert record.celery_state is row.celery_state


def test_celery_states_follow_who_must_act() -> None:
    """REVOKED if canceled; FAILURE for operators and time-outs; else SUCCESS."""
    shown = {row.key: row.celery_state for row in catalogue.PAIRS.values()}
    assert shown[409, "operation_canceled"] is CeleryState.REVOKED
    assert {shown[408, "request_timeout"], shown[504, "request_timeout"]} == {CeleryState.FAILURE}
    assert shown[401, "invalid_checkpoint_solution"] is CeleryState.SUCCESS
    assert shown[500, "provider_error"] is CeleryState.FAILURE
    assert shown[500, "authentication_intent_error"] is CeleryState.SUCCESS


def test_what_is_not_final_has_no_error() -> None:
    """Neither has a message about an intent."""
    queued = waiting_record("a", "LINKEDIN", QUEUED, SUB, RecordState.QUEUED)
    assert (queued.error, queued.is_final) == (None, False)
    assert not intent_message(COMPLETED, 1).is_final


def test_readers_ignore_fields_they_do_not_know() -> None:
    """A newer worker may add some while an older backend still reads."""
    told = json.loads(final(catalogue.REJECTED).to_json())
    told |= {"new": 1, "intent": told["intent"] | {"new": 2}}
    assert Outcome.model_validate_json(json.dumps(told)) == final(catalogue.REJECTED)


def test_a_record_is_frozen() -> None:
    """What was read is what was written."""
    with pytest.raises(ValueError, match="frozen"):
        final(catalogue.REJECTED).status = 201  # type: ignore[misc]


@pytest.mark.parametrize("at_ms", [0, 1, 999, 1_763_831_700_000, 1_763_831_700_001, 4e12 - 1])
def test_times_keep_their_milliseconds(at_ms: float) -> None:
    """Through the record and back: the reader computes the deadline from it."""
    record = Outcome(
        submission_id="s",
        account_id="a",
        provider="LINKEDIN",
        state=RecordState.QUEUED,
        queued_at=timestamp(int(at_ms)),
    )
    text = json.loads(record.to_json())["queued_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert text.endswith(f".{int(at_ms) % 1000:03}Z")
    back = Outcome.model_validate_json(record.to_json()).queued_at
    assert back is not None
    assert round(back.timestamp() * 1000) == int(at_ms)


def test_times_are_told_in_utc_wherever_they_come_from() -> None:
    """A datetime of another zone is the same instant."""
    paris = datetime(2026, 11, 22, 18, 15, tzinfo=timezone(timedelta(hours=1)))
    view = IntentView(state=IntentState.OPEN, failures=0, failures_left=3, expires_at=paris)
    assert json.loads(view.model_dump_json())["expires_at"] == "2026-11-22T17:15:00.000Z"
    assert paris.astimezone(UTC).hour == 17


def test_failures_left_never_falls_below_none() -> None:
    """An operator may lower the limit while an intent is open."""
    over = replace(IDLE, failures=5)
    record = waiting_record("a", "LINKEDIN", over, SUB, RecordState.QUEUED)
    assert record.intent is not None
    assert record.intent.failures_left == 0


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (catalogue.CANCELED, 409, "operation_canceled"),
        (Success.CREATED, 201, "AccountCreated"),
        (Success.CHECKPOINT, 202, "Checkpoint"),
    ],
)
def test_a_record_matches_by_status_and_type(
    answer: Pair | Success, status: int, word: str
) -> None:
    """``match outcome:`` with two words tells every outcome of the catalogue apart."""
    match final(answer):
        case Outcome(found, type=kind):
            assert (found, kind) == (status, word)
        case _:
            pytest.fail("it does not match")
    match final(answer):
        case Outcome(409, "operation_canceled"):
            assert answer is catalogue.CANCELED
        case Outcome(202) as outcome:
            assert outcome.checkpoint == {"type": "OTP", "source": "EMAIL"}
        case outcome:
            assert outcome.checkpoint is None


def test_a_record_that_is_not_final_has_no_type() -> None:
    """It matches by its state alone."""
    record = waiting_record("acc_1", "LINKEDIN", QUEUED, SUB, RecordState.QUEUED)
    assert (record.status, record.type, record.checkpoint) == (None, None, None)


def test_a_record_that_is_made_is_one_that_was_checked() -> None:
    """It is made without pydantic's validation, which its reader must not notice."""
    made = final(catalogue.REJECTED)
    told = json.loads(made.to_json())
    checked = Outcome.model_validate(told)
    assert made == checked
    assert made.model_dump() == checked.model_dump()
    assert made.model_copy(update={"seq": 7}).seq == 7
    assert set(made.model_fields_set) == set(Outcome.model_fields)
