"""What is refused before acceptance: the exact error, and nothing stored."""

import functools
from typing import Any

import pytest

from checkpoint_worker.providers import adapter_for
from checkpoint_worker.providers.contract import TRY_ANOTHER_WAY, Checkpoint, Rejected
from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.events import Cancel, Kill, Open
from checkpoint_worker.tasks.model import Purpose
from checkpoint_worker.tasks.operations.acceptance import open_steps, refuse_steps
from checkpoint_worker.tasks.operations.validation import (
    CheckpointError,
    Sealed,
    new_id,
    read_context,
    read_request,
)
from checkpoint_worker.tasks.storage.executor import ScriptCall, SyncExecutor
from checkpoint_worker.tasks.storage.store import SEEN_TTL_MS
from checkpoint_worker.tasks.storage.vault import solution_name
from tests.store.desk import ACCOUNT, CONTEXT, EMAIL, PROVIDER, Desk, settings_for

CANARY = "canary-482913"
OPENING: dict[str, Any] = {
    "account_id": ACCOUNT,
    "provider": PROVIDER,
    "checkpoint": {"type": "OTP", "source": "EMAIL"},
    "context": CONTEXT,
}
SUBMITTING: dict[str, Any] = {"account_id": ACCOUNT, "provider": PROVIDER, "code": "123456"}
INVALID, MISSING = (400, "errors/invalid_parameters"), (400, "errors/missing_parameters")
UNFIT, TOO_MANY = (400, "errors/invalid_request"), (400, "errors/too_many_characters")
SURROGATE = "\ud800"
SLACK_MS = 60_000


@pytest.fixture
def client(desk: Desk) -> Any:
    """Return a client at the desk's Redis; LINKEDIN and TWITTER are in service."""
    url = desk.settings.redis_url.get_secret_value()
    with CheckpointClient(settings_for(url, providers="LINKEDIN,TWITTER")) as made:
        yield made


def refused(act: Any, **given: Any) -> tuple[int, str]:
    """Return status and type of a refusal, whose envelope is checked on the way."""
    with pytest.raises(CheckpointError) as caught:
        act(**given)
    body = caught.value.body
    keys = ["object", "type", "title", "status", "detail", "instance", "req_id"]
    assert list(body) == keys
    assert body["object"] == "Error"
    assert body["status"] == caught.value.status
    assert body["instance"] == body["req_id"]
    assert CANARY not in f"{caught.value} {caught.value!r} {body}"
    return caught.value.status, str(body["type"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"account_id": None}, MISSING),
        ({"provider": None}, MISSING),
        ({"code": None}, MISSING),
        ({"account_id": 5}, INVALID),
        ({"account_id": ["a"]}, INVALID),
        ({"provider": 5}, INVALID),
        ({"code": 123456}, INVALID),
        ({"code": b"123456"}, INVALID),
        ({"account_id": ""}, INVALID),
        ({"account_id": "a" * 257}, INVALID),
        ({"account_id": "a\nb"}, INVALID),
        ({"account_id": "a\x85b"}, INVALID),
        ({"account_id": SURROGATE}, INVALID),
        ({"provider": ""}, INVALID),
        ({"provider": "MYSPACE"}, INVALID),
        ({"provider": "linkedin"}, INVALID),
        ({"provider": f"LINKEDIN {CANARY}"}, INVALID),
        ({"code": ""}, INVALID),
        ({"code": " \t\n"}, INVALID),
        ({"code": "12\x0034"}, INVALID),
        ({"code": "12\x7f34"}, INVALID),
        ({"code": f"{CANARY}{SURROGATE}"}, INVALID),
        ({"code": "1" * 257}, TOO_MANY),
        ({"code": "1234567"}, TOO_MANY),
        ({"code": CANARY}, UNFIT),
        ({"code": "(+33)0612345678"}, UNFIT),
        ({"code": "١٢٣٤٥٦٧"}, TOO_MANY),
        ({"code": "①②③④⑤⑥"}, UNFIT),
        ({"code": "123456 654321"}, UNFIT),
        ({"code": "\u200b\ufeff\ufe0f"}, INVALID),
        ({"submission_id": ""}, INVALID),
        ({"submission_id": "a" * 129}, INVALID),
        ({"submission_id": "a b"}, INVALID),
        ({"submission_id": "a\n"}, INVALID),
        ({"submission_id": "é"}, INVALID),
        ({"submission_id": 5}, INVALID),
        ({"checkpoint_step": 2}, UNFIT),
        ({"checkpoint_step": 0}, UNFIT),
        ({"checkpoint_step": "1"}, INVALID),
        ({"checkpoint_step": True}, INVALID),
    ],
)
def test_a_bad_submission_is_refused_and_nothing_is_stored(
    desk: Desk, client: CheckpointClient, change: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Each invalid parameter has its error. A refusal costs no try and leaves no trace."""
    desk.open()
    before = desk.dump()
    assert refused(client.submit, **SUBMITTING | change) == expected
    assert desk.dump() == before


def test_a_provider_out_of_service_is_403(desk: Desk, client: CheckpointClient) -> None:
    """Known, but not enabled for this deployment (`CHECKPOINT_PROVIDERS`)."""
    desk.settings = settings_for("redis://unused", providers="TWITTER")
    with pytest.raises(CheckpointError) as caught:
        read_request(desk.settings, ACCOUNT, PROVIDER, "1")
    assert caught.value.pair.key == (403, "feature_not_subscribed")
    assert desk.redis.dbsize() == 0


@pytest.mark.parametrize("code", ["123456", " 123456\n", "123 456", "123-456", "000000"])
def test_a_code_is_trimmed_and_accepted(desk: Desk, client: CheckpointClient, code: str) -> None:
    """The longest ids, any white space around, spaces and dashes inside."""
    desk.open("a" * 256)
    submitted = client.submit(
        account_id="a" * 256, provider=PROVIDER, code=code, submission_id="s" * 128
    )
    assert (submitted.id, submitted.outcome.state) == ("s" * 128, "queued")
    assert submitted.accepted
    assert submitted.woken


@pytest.mark.parametrize(
    "again",
    [
        "482 913",
        "\uff14\uff18\uff12\uff19\uff11\uff13",
        "\u202a482\u2011913\u202c.",
        "\ufeff482913",
    ],
)
def test_a_double_click_is_recognised_by_the_folded_code(desk: Desk, again: str) -> None:
    """However it is typed, it is what is sealed and what would be sent."""
    desk.open()
    desk.submit("s1", "482913")
    desk.claim("s1")
    desk.submit("s2", again)
    current = desk.intent().current
    assert current is not None
    assert current.duplicate_of == "c1"
    sealed = desk.redis.get(desk.store.keys.solution("s2"))
    name = solution_name(PROVIDER, ACCOUNT, "s2")
    assert desk.vault.open(name, str(sealed)) == b"482913"


def test_another_code_is_no_double_click(desk: Desk) -> None:
    """Folding makes no two codes one."""
    desk.open()
    desk.submit("s1", "482913")
    desk.claim("s1")
    desk.submit("s2", "482914")
    current = desk.intent().current
    assert current is not None
    assert current.duplicate_of is None


def test_a_phone_number_is_sealed_as_it_was_typed(desk: Desk) -> None:
    """Where the source has no form for a code; invisible marks go all the same."""
    desk.open(checkpoint=Checkpoint(type="OTP", source="PHONE"))
    desk.submit("s1", "\u2066(+33)0612345678\u2069")
    sealed = desk.redis.get(desk.store.keys.solution("s1"))
    name = solution_name(PROVIDER, ACCOUNT, "s1")
    assert desk.vault.open(name, str(sealed)) == b"(+33)0612345678"


def test_a_checkpoint_of_an_unknown_source_takes_any_code(desk: Desk) -> None:
    """Unknown types pass through: a phone number where the provider asks for one."""
    from checkpoint_worker.providers.contract import Checkpoint  # noqa: PLC0415  beside its only use

    desk.open(checkpoint=Checkpoint(type="OTP", source="PIGEON"))
    assert desk.submit("s1", "(+33)0612345678").outcome.state == "queued"


def test_another_way_skips_the_format_and_its_sixth_time_is_refused(
    desk: Desk, client: CheckpointClient
) -> None:
    """At most five in one generation; a new generation counts anew."""
    desk.open()
    for _ in range(5):
        assert client.submit(**SUBMITTING | {"code": TRY_ANOTHER_WAY}).accepted
    before = desk.dump()
    assert refused(client.submit, **SUBMITTING | {"code": TRY_ANOTHER_WAY}) == UNFIT
    assert desk.dump() == before
    assert client.submit(**SUBMITTING).accepted
    desk.open()
    assert client.submit(**SUBMITTING | {"code": TRY_ANOTHER_WAY}).accepted


def test_a_full_queue_refuses_with_503_and_stores_nothing(desk: Desk) -> None:
    """`queue_max` counts all that wait; a known id is still answered."""
    for number in range(2):
        desk.open(f"acc_{number}")
        desk.submit(f"s{number}", account=f"acc_{number}")
    desk.open("acc_2")
    before = desk.dump()
    with pytest.raises(CheckpointError) as caught:
        desk.submit("s2", account="acc_2", queue_max=2)
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.body["instance"] == "s2"
    assert desk.dump() == before
    assert desk.submit("s1", account="acc_1", queue_max=2).outcome.state == "queued"


# Known ids ---------------------------------------------------------------------------------


def test_a_known_id_of_the_same_account_gives_the_same_record(desk: Desk) -> None:
    """Whatever the code: the first one counts, the second is not even compared."""
    desk.open()
    first = desk.submit("s1")
    before = desk.dump()
    again = desk.submit("s1", "999999")
    assert again.outcome == first.outcome
    assert (again.accepted, again.needs_notification) == (False, False)
    assert desk.submit("s1", "(+33)0612345678").outcome == first.outcome
    assert desk.dump() == before
    desk.bring(lambda _: Kill())
    assert desk.submit("s1").outcome.status == 500


def test_a_known_id_of_another_account_shows_nothing(desk: Desk, client: CheckpointClient) -> None:
    """Ids may be guessed; records carry account ids and outcomes."""
    desk.open()
    desk.submit("s1")
    desk.open("acc_2")
    before = desk.dump()
    for other in ({"account_id": "acc_2"}, {"provider": "TWITTER"}):
        if adapter_for("TWITTER") is None and "provider" in other:
            continue
        given = SUBMITTING | {"submission_id": "s1"} | other
        with pytest.raises(CheckpointError) as caught:
            client.submit(**given)
        assert caught.value.pair.key == (400, "invalid_request")
        assert ACCOUNT not in str(caught.value.body).replace("acc_2", "")
    assert desk.dump() == before


@pytest.mark.parametrize("account", [ACCOUNT, "acc_2"])
def test_an_id_whose_record_has_expired_is_never_new(desk: Desk, account: str) -> None:
    """A copy of a message may lie about for hours: missing is not fresh."""
    desk.open()
    desk.open("acc_2")
    desk.submit("s1")
    desk.bring(lambda _: Cancel(submission_id="s1"))
    desk.redis.delete(desk.store.keys.result("s1"))
    with pytest.raises(CheckpointError, match="used before") as caught:
        desk.submit("s1", account=account)
    assert caught.value.pair.key == (400, "invalid_request")
    assert desk.record("s1") is None


# Accepted and refused at once --------------------------------------------------------------


def test_a_code_for_no_intent_has_a_final_record(desk: Desk) -> None:
    """Without an intent the record has ``intent: null, generation: 0, seq: 0``; never sent."""
    submitted = desk.submit("s1")
    record = submitted.outcome
    assert (record.status, record.code_sent, record.state) == (403, False, "final")
    assert (record.intent, record.generation, record.seq) == (None, 0, 0)
    assert not submitted.needs_notification
    assert record == desk.outcome("s1")
    assert desk.redis.exists(desk.store.keys.solution("s1")) == 0


def test_a_code_for_an_ended_intent_has_a_final_record(desk: Desk) -> None:
    """Completed 409, killed 500; no format is checked where no code is taken any more."""
    desk.open()
    desk.submit("s1")
    desk.claim("s1")
    desk.clear("s1")
    assert desk.submit("s2", "letters").outcome.status == 409
    desk.open()
    desk.bring(lambda _: Kill())
    refused_at_once = desk.submit("s3", "letters").outcome
    assert (refused_at_once.status, refused_at_once.generation) == (500, 2)
    assert refused_at_once.intent is not None
    assert refused_at_once.intent.state == "killed"


def test_a_code_after_the_intent_s_time_is_answered_500(desk: Desk) -> None:
    """Also before any sweep has said that it expired."""
    desk.ago(301).open()
    record = desk.submit("s1").outcome
    assert (record.status, record.code_sent) == (500, False)
    assert record.body is not None
    assert "expired" in str(record.body["detail"])


def test_a_step_that_is_the_current_one_is_accepted(desk: Desk) -> None:
    """A backend that names the step is told when the page was an old one."""
    desk.open()
    assert desk.submit("s1", step=1).accepted
    desk.claim("s1")
    desk.answer("s1", Rejected())
    assert desk.submit("s2", step=1).accepted


# Opening -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected", "named"),
    [
        ({"account_id": None}, MISSING, "account_id"),
        ({"provider": "MYSPACE"}, INVALID, "provider"),
        ({"context": None}, MISSING, "context"),
        ({"context": [CANARY]}, INVALID, "context"),
        ({"context": {"route": CANARY}}, INVALID, "context.route"),
        ({"context": {}}, INVALID, "context.fields"),
        ({"context": {"fields": CANARY}}, INVALID, "context.fields"),
        ({"context": {"fields": {"csrfToken": 5}}}, INVALID, "context.fields.csrfToken"),
        ({"context": CONTEXT | {"password": CANARY}}, INVALID, "context.password"),
        (
            {"context": CONTEXT | {"cookies": [{"value": CANARY}]}},
            INVALID,
            "context.cookies.0.name",
        ),
        ({"context": CONTEXT | {"user_agent": SURROGATE}}, INVALID, "context.user_agent"),
        ({"checkpoint": None}, INVALID, "checkpoint"),
        ({"checkpoint": {}}, MISSING, "checkpoint.type"),
        ({"checkpoint": {"type": ""}}, INVALID, "checkpoint.type"),
        ({"checkpoint": {"type": "x" * 65}}, INVALID, "checkpoint.type"),
        ({"checkpoint": {"type": "OTP", "source": 5}}, INVALID, "checkpoint.source"),
        ({"checkpoint": {"type": "OTP", "source": "a\0b"}}, INVALID, "checkpoint.source"),
        ({"checkpoint": {"type": SURROGATE}}, INVALID, "checkpoint.type"),
        ({"purpose": "steal"}, INVALID, "purpose"),
        ({"purpose": None}, INVALID, "purpose"),
        ({"user_id": 5}, INVALID, "user_id"),
        ({"user_id": ""}, INVALID, "user_id"),
        ({"user_id": "1" * 257}, INVALID, "user_id"),
        ({"user_id": SURROGATE}, INVALID, "user_id"),
        ({"proxy": 5}, INVALID, "proxy"),
        ({"proxy": ""}, INVALID, "proxy"),
        ({"proxy": f"ftp://u:{CANARY}@h:1"}, INVALID, "proxy"),
        ({"proxy": f"http://u:{CANARY}@127.0.0.1:1"}, INVALID, "proxy"),
        ({"proxy": f"http://u:{CANARY}@169.254.169.254"}, INVALID, "proxy"),
    ],
)
def test_an_intent_that_does_not_fit_is_refused_by_the_name_of_the_field(
    desk: Desk,
    client: CheckpointClient,
    change: dict[str, Any],
    expected: tuple[int, str],
    named: str,
) -> None:
    """The login service learns where to look; values are never repeated, nothing is stored."""
    with pytest.raises(CheckpointError) as caught:
        client.open_intent(**OPENING | change)
    assert (caught.value.status, caught.value.body["type"]) == expected
    assert named in str(caught.value.body["detail"])
    assert CANARY not in f"{caught.value} {caught.value.body}"
    assert desk.redis.dbsize() == 0


def test_a_refusal_names_a_bounded_part_of_what_was_sent() -> None:
    """Names of unknown fields are the caller's: a megabyte of them is not repeated."""
    with pytest.raises(CheckpointError) as caught:
        read_context(PROVIDER, CONTEXT | {f"{number}" + "x" * 10_000: 1 for number in range(100)})
    assert len(str(caught.value.body["detail"])) < 1_000


def test_what_was_opened_can_be_read_by_the_attempt(desk: Desk, client: CheckpointClient) -> None:
    """Context with its defaults and the proxy, sealed for this intent."""
    proxy = f"http://u:{CANARY}@proxy.example:8080"
    info = client.open_intent(**OPENING, proxy=proxy, purpose="reconnect", user_id="u1")
    assert (info.state, info.generation, info.purpose) == ("open", 1, "reconnect")
    sealed = desk.redis.get(desk.store.keys.context(PROVIDER, ACCOUNT))
    opened = Sealed.from_bytes(desk.vault.open(f"context|{PROVIDER}|{ACCOUNT}", str(sealed)))
    assert opened.proxy == proxy
    assert opened.context["fields"] == CONTEXT["fields"]
    assert CANARY not in repr(opened)
    assert desk.intent().user_id == "u1"


# Raw producers -----------------------------------------------------------------------------


def test_a_refused_raw_submission_has_a_final_record_once(desk: Desk) -> None:
    """A plain Celery producer has no other way to hear of it; a known id keeps its record."""
    with pytest.raises(CheckpointError) as caught:
        read_request(desk.settings, ACCOUNT, PROVIDER, "")
    steps = refuse_steps(desk.store, caught.value, "raw", ACCOUNT, PROVIDER)
    assert desk.door.run(steps) is True
    record = desk.outcome("raw")
    assert (record.status, record.code_sent, record.generation) == (400, False, 0)
    assert record.body is not None
    assert record.body["detail"] == caught.value.body["detail"]
    again = refuse_steps(desk.store, caught.value, "raw", ACCOUNT, PROVIDER)
    assert desk.door.run(again) is False


@pytest.mark.parametrize("account", [ACCOUNT, "acc_2"])
def test_a_refused_raw_submission_s_id_is_remembered_as_any_other(desk: Desk, account: str) -> None:
    """A copy of its message that comes when the record has expired is neither sent nor answered.

    As Celery's Redis transport gives a message out again after an hour. Two outcomes for one id
    would be as wrong as a code that is sent for one that was told otherwise.
    """
    with pytest.raises(CheckpointError) as refused:
        read_request(desk.settings, ACCOUNT, PROVIDER, "")
    assert desk.door.run(refuse_steps(desk.store, refused.value, "raw", ACCOUNT, PROVIDER))
    assert desk.redis.pttl(desk.store.keys.seen("raw")) > SEEN_TTL_MS - SLACK_MS
    desk.redis.delete(desk.store.keys.result("raw"))
    desk.open(account)
    with pytest.raises(CheckpointError, match="used before") as again:
        desk.submit("raw", account=account)
    assert not desk.door.run(refuse_steps(desk.store, again.value, "raw", account, PROVIDER))
    assert desk.record("raw") is None
    assert desk.redis.xlen(desk.store.keys.outcomes) == 1


def test_a_refusal_changes_nothing_of_a_copy_that_was_accepted_meanwhile(desk: Desk) -> None:
    """One id in two messages, for two accounts, taken by two workers at once."""
    with pytest.raises(CheckpointError) as caught:
        read_request(desk.settings, "acc_2", PROVIDER, "")
    desk.open()

    class Interrupted(SyncExecutor):
        def _eval(self, call: ScriptCall) -> list[Any]:
            if call.script == "commit" and desk.record("raw") is None:
                desk.submit("raw")
            return super()._eval(call)

    steps = refuse_steps(desk.store, caught.value, "raw", "acc_2", PROVIDER)
    assert Interrupted(desk.redis).run(steps) is False
    assert desk.outcome("raw").account_id == ACCOUNT
    assert desk.outcome("raw").state == "queued"


def test_a_raw_submission_with_names_that_are_no_text_is_answered(desk: Desk) -> None:
    """JSON may hold lone surrogates; Redis and the record cannot."""
    with pytest.raises(CheckpointError) as caught:
        read_request(desk.settings, SURROGATE, PROVIDER, "1")
    steps = refuse_steps(desk.store, caught.value, "raw", f"a{SURROGATE}", PROVIDER)
    assert desk.door.run(steps) is True
    assert desk.outcome("raw").account_id == "a?"


# Ids ---------------------------------------------------------------------------------------


def test_new_ids_are_usable_differ_and_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """``sub_`` and a ULID: 26 digits of Crockford's alphabet."""
    from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID  # noqa: PLC0415  beside its only use

    ids = []
    for now_ns in (10**18, 2 * 10**18, 3 * 10**18):
        monkeypatch.setattr("time.time_ns", lambda now_ns=now_ns: now_ns)
        ids.append(new_id())
    assert ids == sorted(ids)
    assert len({new_id() for _ in range(1_000)}) == 1_000
    assert all(SUBMISSION_ID.fullmatch(name) and len(name) == 30 for name in ids)
    assert new_id("req").startswith("req_")


def test_opening_again_tells_the_next_generation(desk: Desk) -> None:
    """The steps return the intent as it is then."""
    steps = open_steps(
        desk.store,
        desk.vault,
        Open(account_id=ACCOUNT, provider=PROVIDER, checkpoint=EMAIL, purpose=Purpose.CONNECT),
        Sealed(context=CONTEXT),
    )
    desk.open()
    desk.submit("s1")
    assert desk.door.run(steps).generation == 2
    assert desk.outcome("s1").status == 409
    assert desk.outcome("s1").generation == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"app": {"a": "x" * 65_536}}, "`context` is over 65,536 bytes as JSON"),
        ({"app": {"x" * 65_536: ""}}, "`context` is over 65,536 bytes as JSON"),
        ({"app": {"a": "\u20ac" * 30_000}}, "`context` is over 65,536 bytes as JSON"),
        ({"cookies": [{}] * 240_000}, "`context.cookies` has more than 256 entries"),
        ({"cookies": ({},) * 257}, "`context.cookies` has more than 256 entries"),
        ({str(n): n for n in range(300)}, "`context` has more than 256 entries"),
        ({"cookies": [[[0] * 40] * 20] * 20}, "`context` has more than 4,096 values"),
        ({"app": functools.reduce(lambda inner, _: [inner], range(20), [])}, "16 levels deep"),
        ({"app": {"a": "\ud800" * 65_537}}, "`context` is over 65,536 bytes as JSON"),
    ],
)
def test_a_context_is_refused_by_its_size_before_its_model_looks(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], said: str
) -> None:
    """A model's check costs time for each value: 240,000 cookies stopped a loop for 4 s."""
    monkeypatch.setattr("checkpoint_worker.tasks.operations.validation.adapter_for", None)
    with pytest.raises(CheckpointError) as caught:
        read_context(PROVIDER, {"fields": {}, **more})
    assert caught.value.pair.key == (400, "invalid_parameters")
    assert said in caught.value.body["detail"]
    assert "leave out" in caught.value.body["detail"]
