"""Canaries: a code, a context value, a proxy password and a session are in clear nowhere."""

import json
import logging
import traceback
from typing import Any

import pytest

from checkpoint_worker.providers.contract import Context
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.client import CheckpointClient
from checkpoint_worker.tasks.events import Decision, DecisionStatus, Failed
from checkpoint_worker.tasks.operations.validation import CheckpointError, read_request
from checkpoint_worker.tasks.storage.executor import LedgerUnavailableError
from checkpoint_worker.tasks.storage.views import Snapshot
from tests.support.ledger_fixture import ACCOUNT, CONTEXT, PROVIDER, LedgerFixture, settings_for

CODE = "482913"
VALUE = "canary-context"
PASSWORD = "canary-proxy"
COOKIE = "canary-cookie"
SESSION = "canary-session"
CANARIES = (CODE, VALUE, PASSWORD, COOKIE, SESSION)
PLACE: dict[str, Any] = {"account_id": ACCOUNT, "provider": PROVIDER}


def found(text: str) -> list[str]:
    """Return the canaries in a text."""
    return [canary for canary in CANARIES if canary in text]


@pytest.fixture
def client(ledger: LedgerFixture) -> Any:
    """Return a client at the ledger's Redis."""
    with CheckpointClient(settings_for(ledger.settings.redis_url.get_secret_value())) as made:
        yield made


def test_nothing_secret_rests_in_redis_in_clear(
    ledger: LedgerFixture, client: CheckpointClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Every key and value, the Celery message and all logs, at each step of a life."""
    caplog.set_level(logging.DEBUG)
    client.open_intent(
        **PLACE,
        checkpoint={"type": "OTP", "source": "EMAIL"},
        context=CONTEXT
        | {
            "fields": {"csrfToken": VALUE},
            "cookies": [
                {"name": "JSESSIONID", "value": VALUE},
                {"name": "li_at", "value": COOKIE},
            ],
        },
        proxy=f"http://user:{PASSWORD}@proxy.example:8080",
    )
    seen = [ledger.dump()]
    client.submit(**PLACE, code=CODE, submission_id="s1")
    seen.append(ledger.dump())
    assert any("sealed:solution:s1" in key for key in seen[-1])
    assert len(seen[-1]["checkpoint"]) == 1, "the Celery message is among what is looked at"
    client.submit(**PLACE, code=f" {CODE} ", submission_id="s2")
    ledger.claim("s2")
    seen.append(ledger.dump())
    name = f"session|{PROVIDER}|{ACCOUNT}"
    sealed = ledger.vault.seal(name, json.dumps({"cookie": SESSION}).encode())
    ledger.redis.set(ledger.store.keys.session(PROVIDER, ACCOUNT), sealed)
    seen.append(ledger.dump())
    assert client.take_session(**PLACE) == {"cookie": SESSION}
    client.kill_intent(**PLACE)
    seen.append(ledger.dump())
    assert found(repr(seen)) == []
    assert found(caplog.text) == []
    assert found(repr([record.__dict__ for record in caplog.records])) == []


def test_the_code_is_sealed_in_redis_only_until_it_is_claimed_or_final(
    ledger: LedgerFixture,
) -> None:
    """By key: queued yes; claimed, superseded, canceled and killed no."""
    ledger.open()
    ledger.submit("s1", CODE)
    sealed = [key for key in ledger.dump() if ":sealed:solution:" in key]
    assert sealed == [ledger.store.keys.solution("s1")]
    stored = str(ledger.redis.get(sealed[0]))
    assert ledger.vault.open(f"solution|{PROVIDER}|s1|{ACCOUNT}", stored) == CODE.encode()
    ledger.submit("s2", "654321")
    assert [key for key in ledger.dump() if ":sealed:solution:" in key] == [
        ledger.store.keys.solution("s2")
    ]
    ledger.claim("s2")
    assert [key for key in ledger.dump() if ":sealed:solution:" in key] == []


@pytest.mark.parametrize(
    "change",
    [{"code": f"{CODE}\0"}, {"code": CODE * 50}, {"code": f"{CODE}\ud800"}, {"code": f"{CODE}x"}],
)
def test_a_refused_code_is_in_no_traceback(
    ledger: LedgerFixture, client: CheckpointClient, change: dict[str, str]
) -> None:
    """What an error reporter would print, chained exceptions included."""
    ledger.open()
    with pytest.raises(CheckpointError) as caught:
        client.submit(**{**PLACE, **change})
    assert found("".join(traceback.format_exception(caught.value))) == []
    assert found(repr(caught.value.body)) == []


def test_a_ledger_that_fails_tells_no_code(
    ledger: LedgerFixture, client: CheckpointClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis quotes arguments in some of its errors; ours don't."""
    monkeypatch.setattr("checkpoint_worker.tasks.storage.executor.PAUSES_S", (0.0, 0.0))
    ledger.open()
    steps = ledger.submitting("s1", CODE)
    commit = steps.send(ledger.executor._call(next(steps)))
    ledger.redis.set(ledger.store.keys.intent(PROVIDER, ACCOUNT), f"{VALUE} is no JSON")
    with pytest.raises(LedgerUnavailableError) as caught:
        ledger.executor._call(commit)
    assert found("".join(traceback.format_exception(caught.value))) == []


def test_requests_and_settings_hide_what_they_hold(ledger: LedgerFixture) -> None:
    """A repr ends up in a log sooner or later."""
    request = read_request(ledger.settings, ACCOUNT, PROVIDER, CODE)
    assert found(repr(request)) == []
    steps = ledger.submitting("s1", CODE)
    assert found(repr(next(steps))) == []
    commit = steps.send(ledger.executor._call(ledger.store.read(PROVIDER, ACCOUNT).__next__()))
    assert found(repr(commit)) == []


def test_what_shows_a_noun_shows_no_secret() -> None:
    """Neither `repr` nor a terminal's pretty printer, which asks another method."""
    context = Context(user_agent=VALUE)
    failed = Failed(failure=catalogue.REJECTED, context=context)
    decision = Decision(reply=DecisionStatus.DONE, context=context, session={"cookie": SESSION})
    snapshot = Snapshot(now_ms=1, run_id="r", intent=None, values={"key": CODE})
    for noun in (failed, decision, snapshot):
        assert found(f"{noun!r} {noun} {noun.__rich_repr__()}") == []
    assert "reply=<DecisionStatus.DONE" in repr(decision)
    assert ("now_ms", 1) in snapshot.__rich_repr__()
