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
from tests.support.ledger_fixture import (
    ACCOUNT,
    CONTEXT,
    EMAIL,
    PROVIDER,
    LedgerFixture,
    settings_for,
)

CANARY = "canary-482913"
OPENING: dict[str, Any] = {
    "account_id": ACCOUNT,
    "provider": PROVIDER,
    "checkpoint": {"type": "OTP", "source": "EMAIL"},
    "context": CONTEXT,
}
SUBMITTING: dict[str, Any] = {"account_id": ACCOUNT, "provider": PROVIDER, "code": "123456"}
INVALID, MISSING = (400, "errors/invalid_parameters"), (400, "errors/missing_parameters")
UNESCAPED = (400, "errors/unescaped_characters")
UNFIT, TOO_MANY = (400, "errors/invalid_request"), (400, "errors/too_many_characters")
SURROGATE = "\ud800"
SLACK_MS = 60_000


@pytest.fixture
def client(ledger: LedgerFixture) -> Any:
    """Return a client at the ledger's Redis; LINKEDIN and TWITTER are in service."""
    url = ledger.settings.redis_url.get_secret_value()
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
    ledger: LedgerFixture,
    client: CheckpointClient,
    change: dict[str, Any],
    expected: tuple[int, str],
) -> None:
    """Each invalid parameter has its error. A refusal costs no try and leaves no trace."""
    ledger.open()
    before = ledger.dump()
    assert refused(client.submit, **SUBMITTING | change) == expected
    assert ledger.dump() == before


def test_a_provider_out_of_service_is_403(ledger: LedgerFixture, client: CheckpointClient) -> None:
    """Known, but not enabled for this deployment (`CHECKPOINT_PROVIDERS`)."""
    ledger.settings = settings_for("redis://unused", providers="TWITTER")
    with pytest.raises(CheckpointError) as caught:
        read_request(ledger.settings, ACCOUNT, PROVIDER, "1")
    assert caught.value.pair.key == (403, "feature_not_subscribed")
    assert ledger.redis.dbsize() == 0


@pytest.mark.parametrize("code", ["123456", " 123456\n", "123 456", "123-456", "000000"])
def test_a_code_is_trimmed_and_accepted(
    ledger: LedgerFixture, client: CheckpointClient, code: str
) -> None:
    """The longest ids, any white space around, spaces and dashes inside."""
    ledger.open("a" * 256)
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
def test_a_double_click_is_recognised_by_the_folded_code(ledger: LedgerFixture, again: str) -> None:
    """However it is typed, it is what is sealed and what would be sent."""
    ledger.open()
    ledger.submit("s1", "482913")
    ledger.claim("s1")
    ledger.submit("s2", again)
    current = ledger.intent().current
    assert current is not None
    assert current.duplicate_of == "c1"
    sealed = ledger.redis.get(ledger.store.keys.solution("s2"))
    name = solution_name(PROVIDER, ACCOUNT, "s2")
    assert ledger.vault.open(name, str(sealed)) == b"482913"


def test_another_code_is_no_double_click(ledger: LedgerFixture) -> None:
    """Folding makes no two codes one."""
    ledger.open()
    ledger.submit("s1", "482913")
    ledger.claim("s1")
    ledger.submit("s2", "482914")
    current = ledger.intent().current
    assert current is not None
    assert current.duplicate_of is None


def test_a_phone_number_is_sealed_as_it_was_typed(ledger: LedgerFixture) -> None:
    """Where the source has no form for a code; invisible marks go all the same."""
    ledger.open(checkpoint=Checkpoint(type="OTP", source="PHONE"))
    ledger.submit("s1", "\u2066(+33)0612345678\u2069")
    sealed = ledger.redis.get(ledger.store.keys.solution("s1"))
    name = solution_name(PROVIDER, ACCOUNT, "s1")
    assert ledger.vault.open(name, str(sealed)) == b"(+33)0612345678"


def test_a_checkpoint_of_an_unknown_source_takes_any_code(ledger: LedgerFixture) -> None:
    """Unknown types pass through: a phone number where the provider asks for one."""
    from checkpoint_worker.providers.contract import Checkpoint  # noqa: PLC0415  beside its only use

    ledger.open(checkpoint=Checkpoint(type="OTP", source="PIGEON"))
    assert ledger.submit("s1", "(+33)0612345678").outcome.state == "queued"


def test_another_way_skips_the_format_and_its_sixth_time_is_refused(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """At most five in one generation; a new generation counts anew."""
    ledger.open()
    for _ in range(5):
        assert client.submit(**SUBMITTING | {"code": TRY_ANOTHER_WAY}).accepted
    before = ledger.dump()
    assert refused(client.submit, **SUBMITTING | {"code": TRY_ANOTHER_WAY}) == UNFIT
    assert ledger.dump() == before
    assert client.submit(**SUBMITTING).accepted
    ledger.open()
    assert client.submit(**SUBMITTING | {"code": TRY_ANOTHER_WAY}).accepted


def test_a_full_queue_refuses_with_503_and_stores_nothing(ledger: LedgerFixture) -> None:
    """`queue_max` counts all that wait; a known id is still answered."""
    for number in range(2):
        ledger.open(f"acc_{number}")
        ledger.submit(f"s{number}", account=f"acc_{number}")
    ledger.open("acc_2")
    before = ledger.dump()
    with pytest.raises(CheckpointError) as caught:
        ledger.submit("s2", account="acc_2", queue_max=2)
    assert caught.value.pair.key == (503, "service_unavailable")
    assert caught.value.body["instance"] == "s2"
    assert ledger.dump() == before
    assert ledger.submit("s1", account="acc_1", queue_max=2).outcome.state == "queued"


# Known ids ---------------------------------------------------------------------------------


def test_a_known_id_of_the_same_account_gives_the_same_record(ledger: LedgerFixture) -> None:
    """Whatever the code: the first one counts, the second is not even compared."""
    ledger.open()
    first = ledger.submit("s1")
    before = ledger.dump()
    again = ledger.submit("s1", "999999")
    assert again.outcome == first.outcome
    assert (again.accepted, again.needs_notification) == (False, False)
    assert ledger.submit("s1", "(+33)0612345678").outcome == first.outcome
    assert ledger.dump() == before
    ledger.bring(lambda _: Kill())
    assert ledger.submit("s1").outcome.status == 500


def test_a_known_id_of_another_account_shows_nothing(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """Ids may be guessed; records carry account ids and outcomes."""
    ledger.accepted("s1")
    ledger.open("acc_2")
    before = ledger.dump()
    for other in ({"account_id": "acc_2"}, {"provider": "TWITTER"}):
        if adapter_for("TWITTER") is None and "provider" in other:
            continue
        given = SUBMITTING | {"submission_id": "s1"} | other
        with pytest.raises(CheckpointError) as caught:
            client.submit(**given)
        assert caught.value.pair.key == (400, "invalid_request")
        assert ACCOUNT not in str(caught.value.body).replace("acc_2", "")
    assert ledger.dump() == before


@pytest.mark.parametrize("account", [ACCOUNT, "acc_2"])
def test_an_id_whose_record_has_expired_is_never_new(ledger: LedgerFixture, account: str) -> None:
    """A copy of a message may lie about for hours: missing is not fresh."""
    ledger.open()
    ledger.open("acc_2")
    ledger.submit("s1")
    ledger.bring(lambda _: Cancel(submission_id="s1"))
    ledger.redis.delete(ledger.store.keys.result("s1"))
    with pytest.raises(CheckpointError, match="used before") as caught:
        ledger.submit("s1", account=account)
    assert caught.value.pair.key == (400, "invalid_request")
    assert ledger.record("s1") is None


# Accepted and refused at once --------------------------------------------------------------


def test_a_code_for_no_intent_has_a_final_record(ledger: LedgerFixture) -> None:
    """Without an intent the record has ``intent: null, generation: 0, seq: 0``; never sent."""
    submitted = ledger.submit("s1")
    record = submitted.outcome
    assert (record.status, record.code_sent, record.state) == (403, False, "final")
    assert (record.intent, record.generation, record.seq) == (None, 0, 0)
    assert not submitted.needs_notification
    assert record == ledger.outcome("s1")
    assert ledger.redis.exists(ledger.store.keys.solution("s1")) == 0


def test_a_code_for_an_ended_intent_has_a_final_record(ledger: LedgerFixture) -> None:
    """Completed 409, killed 500; no format is checked where no code is taken any more."""
    ledger.claimed("s1")
    ledger.clear("s1")
    assert ledger.submit("s2", "letters").outcome.status == 409
    ledger.open()
    ledger.bring(lambda _: Kill())
    refused_at_once = ledger.submit("s3", "letters").outcome
    assert (refused_at_once.status, refused_at_once.generation) == (500, 2)
    assert refused_at_once.intent is not None
    assert refused_at_once.intent.state == "killed"


def test_a_code_after_the_intent_s_time_is_answered_500(ledger: LedgerFixture) -> None:
    """Also before any sweep has said that it expired."""
    ledger.ago(301).open()
    record = ledger.submit("s1").outcome
    assert (record.status, record.code_sent) == (500, False)
    assert record.body is not None
    assert "expired" in str(record.body["detail"])


def test_a_step_that_is_the_current_one_is_accepted(ledger: LedgerFixture) -> None:
    """A backend that names the step is told when the page was an old one."""
    ledger.open()
    assert ledger.submit("s1", step=1).accepted
    ledger.claim("s1")
    ledger.answer("s1", Rejected())
    assert ledger.submit("s2", step=1).accepted


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
        ({"context": CONTEXT | {"cookies": []}}, INVALID, "context.cookies needs JSESSIONID"),
        ({"context": CONTEXT | {"action": "/a b"}}, UNESCAPED, "context.action"),
        ({"checkpoint": {"type": "2FA", "source": "EMAIL"}}, INVALID, "checkpoint.type"),
        ({"checkpoint": {"type": "2FA", "source": "BACKUP"}}, INVALID, "checkpoint.source"),
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
    ledger: LedgerFixture,
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
    assert ledger.redis.dbsize() == 0


def test_a_refusal_names_a_bounded_part_of_what_was_sent() -> None:
    """Names of unknown fields are the caller's: a megabyte of them is not repeated."""
    with pytest.raises(CheckpointError) as caught:
        read_context(PROVIDER, CONTEXT | {f"{number}" + "x" * 10_000: 1 for number in range(100)})
    assert len(str(caught.value.body["detail"])) < 1_000


def test_what_was_opened_can_be_read_by_the_attempt(
    ledger: LedgerFixture, client: CheckpointClient
) -> None:
    """Context with its defaults and the proxy, sealed for this intent."""
    proxy = f"http://u:{CANARY}@proxy.example:8080"
    info = client.open_intent(**OPENING, proxy=proxy, purpose="reconnect", user_id="u1")
    assert (info.state, info.generation, info.purpose) == ("open", 1, "reconnect")
    sealed = ledger.redis.get(ledger.store.keys.context(PROVIDER, ACCOUNT))
    opened = Sealed.from_bytes(ledger.vault.open(f"context|{PROVIDER}|{ACCOUNT}", str(sealed)))
    assert opened.proxy == proxy
    assert opened.context["fields"] == CONTEXT["fields"]
    assert CANARY not in repr(opened)
    assert ledger.intent().user_id == "u1"


# Raw producers -----------------------------------------------------------------------------


def test_a_refused_raw_submission_has_a_final_record_once(ledger: LedgerFixture) -> None:
    """A plain Celery producer has no other way to hear of it; a known id keeps its record."""
    with pytest.raises(CheckpointError) as caught:
        read_request(ledger.settings, ACCOUNT, PROVIDER, "")
    steps = refuse_steps(ledger.store, caught.value, "raw", ACCOUNT, PROVIDER)
    assert ledger.executor.run(steps) is True
    record = ledger.outcome("raw")
    assert (record.status, record.code_sent, record.generation) == (400, False, 0)
    assert record.body is not None
    assert record.body["detail"] == caught.value.body["detail"]
    again = refuse_steps(ledger.store, caught.value, "raw", ACCOUNT, PROVIDER)
    assert ledger.executor.run(again) is False


@pytest.mark.parametrize("account", [ACCOUNT, "acc_2"])
def test_a_refused_raw_submission_s_id_is_remembered_as_any_other(
    ledger: LedgerFixture, account: str
) -> None:
    """A copy of its message that comes when the record has expired is neither sent nor answered.

    As Celery's Redis transport gives a message out again after an hour. Two outcomes for one id
    would be as wrong as a code that is sent for one that was told otherwise.
    """
    with pytest.raises(CheckpointError) as refused:
        read_request(ledger.settings, ACCOUNT, PROVIDER, "")
    assert ledger.executor.run(refuse_steps(ledger.store, refused.value, "raw", ACCOUNT, PROVIDER))
    assert ledger.redis.pttl(ledger.store.keys.seen("raw")) > SEEN_TTL_MS - SLACK_MS
    ledger.redis.delete(ledger.store.keys.result("raw"))
    ledger.open(account)
    with pytest.raises(CheckpointError, match="used before") as again:
        ledger.submit("raw", account=account)
    assert not ledger.executor.run(
        refuse_steps(ledger.store, again.value, "raw", account, PROVIDER)
    )
    assert ledger.record("raw") is None
    assert ledger.redis.xlen(ledger.store.keys.outcomes) == 1


def test_a_refusal_changes_nothing_of_a_copy_that_was_accepted_meanwhile(
    ledger: LedgerFixture,
) -> None:
    """One id in two messages, for two accounts, taken by two workers at once."""
    with pytest.raises(CheckpointError) as caught:
        read_request(ledger.settings, "acc_2", PROVIDER, "")
    ledger.open()

    class Interrupted(SyncExecutor):
        def _eval(self, call: ScriptCall) -> list[Any]:
            if call.script == "commit" and ledger.record("raw") is None:
                ledger.submit("raw")
            return super()._eval(call)

    steps = refuse_steps(ledger.store, caught.value, "raw", "acc_2", PROVIDER)
    assert Interrupted(ledger.redis).run(steps) is False
    assert ledger.outcome("raw").account_id == ACCOUNT
    assert ledger.outcome("raw").state == "queued"


def test_a_raw_submission_with_names_that_are_no_text_is_answered(ledger: LedgerFixture) -> None:
    """JSON may hold lone surrogates; Redis and the record cannot."""
    with pytest.raises(CheckpointError) as caught:
        read_request(ledger.settings, SURROGATE, PROVIDER, "1")
    steps = refuse_steps(ledger.store, caught.value, "raw", f"a{SURROGATE}", PROVIDER)
    assert ledger.executor.run(steps) is True
    assert ledger.outcome("raw").account_id == "a?"


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


def test_opening_again_tells_the_next_generation(ledger: LedgerFixture) -> None:
    """The steps return the intent as it is then."""
    steps = open_steps(
        ledger.store,
        ledger.vault,
        Open(account_id=ACCOUNT, provider=PROVIDER, checkpoint=EMAIL, purpose=Purpose.CONNECT),
        Sealed(context=CONTEXT),
    )
    ledger.accepted("s1")
    assert ledger.executor.run(steps).generation == 2
    assert ledger.outcome("s1").status == 409
    assert ledger.outcome("s1").generation == 1


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
