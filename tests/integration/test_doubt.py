"""Answers that tell neither yes nor no, through real attempts: no way to guess."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    Challenge,
    Context,
    ProviderBrokenError,
    ProviderFailure,
    ProviderTimeoutError,
    Rejected,
    UnknownContextError,
    UnknownStepError,
    UnreadableAnswerError,
    Verdict,
)
from checkpoint_worker.tasks.model import IntentState
from tests.integration.test_attempt import (
    ACCOUNT,
    CLEARED,
    PROVIDER,
    Actor,
    LedgerFixture,
    Says,
    ledger,
)

__all__ = ["ledger"]  # A fixture: pytest finds it by its name here.

CODES = [f"{number:06}" for number in range(100, 120)]


async def outcomes(
    ledger: LedgerFixture, count: int, first: int = 0
) -> list[tuple[int, bool | None]]:
    """Submit one code after the other; return status and ``code_sent`` of each."""
    found = []
    for number in range(first, first + count):
        name = await ledger.submit(CODES[number], f"s{number}")
        record = await ledger.run(name)
        found.append((record.status or 0, record.code_sent))
    return found


@pytest.mark.parametrize("kind", [UnknownStepError, UnreadableAnswerError])
async def test_a_code_in_doubt_leaves_the_login_open(
    ledger: LedgerFixture, kind: type[ProviderFailure]
) -> None:
    """No failure is counted, a fault is; the next code may be the right one."""
    ledger.play(Says(kind(context=Context(user_agent="turned")), CLEARED))
    await ledger.open()
    with capture_logs() as logs:
        assert await outcomes(ledger, 1) == [(kind.status, True)]
    assert [line["verdict"] for line in logs if line["event"] == "attempt.in_doubt"] == [kind.type]
    intent = await ledger.intent()
    assert (intent.state, intent.failures, intent.faults) == (IntentState.OPEN, 0, 1)
    assert intent.doubts == 1
    record = await ledger.record("s0")
    assert record.intent is not None
    assert record.intent.failures_left == 3
    assert await outcomes(ledger, 1, first=1) == [(201, True)]


@pytest.mark.parametrize(
    "ends",
    [
        [UnknownStepError(), UnknownStepError(), UnknownStepError()],
        [UnreadableAnswerError(), Rejected(), UnknownStepError()],
        [Rejected(), UnknownStepError(), Rejected()],
        [ValueError("a bug of an adapter"), UnknownStepError(), Rejected()],
    ],
    ids=["unknown", "mixed", "refused last", "crashed first"],
)
async def test_so_many_codes_are_sent_and_no_more(
    ledger: LedgerFixture, ends: Sequence[Verdict | BaseException]
) -> None:
    """A provider that answers refusals in an unknown form is no oracle."""
    actor = ledger.play(Says(*ends))
    await ledger.open()
    assert all(sent for _, sent in await outcomes(ledger, 3))
    assert await outcomes(ledger, 2, first=3) == [(403, False), (403, False)]
    record = await ledger.record("s3")
    assert record.type == "action_required"
    assert len(ledger.sent) == len(actor.challenges) == 3
    assert (await ledger.intent()).state is IntentState.OPEN
    await ledger.open()
    actor_ = ledger.play(Says(CLEARED))
    assert await outcomes(ledger, 1, first=5) == [(201, True)]
    assert len(actor_.challenges) == 1


async def test_an_adapter_that_prepares_does_not_begin_either(ledger: LedgerFixture) -> None:
    """Preparing is seen by the provider, too."""
    actor = ledger.play(Says(UnknownStepError()), prepares=True)
    await ledger.open()
    await outcomes(ledger, 3)
    assert await outcomes(ledger, 1, first=3) == [(403, False)]
    assert len(actor.challenges) == 3


@pytest.mark.parametrize(
    "end",
    [ProviderBrokenError(), ActionRequiredError(), ProviderTimeoutError()],
    ids=lambda end: end.type,
)
async def test_what_says_itself_that_no_code_was_judged_is_no_doubt(
    ledger: LedgerFixture, end: ProviderFailure
) -> None:
    """5xx, throttling, silence, a known step: an outage must not end a login after three codes."""
    ledger.play(Says(end, end, end, end, CLEARED))
    await ledger.open()
    assert [status for status, _ in await outcomes(ledger, 5)] == [end.status] * 4 + [201]
    assert (await ledger.intent()).doubts == 0


async def test_doubt_before_the_code_left_is_none(ledger: LedgerFixture) -> None:
    """Nothing was tried."""
    ledger.play(Says(UnreadableAnswerError(), sends=False))
    await ledger.open()
    assert await outcomes(ledger, 4) == [(500, False)] * 4
    assert (await ledger.intent()).doubts == 0


async def test_a_login_that_the_provider_has_left_is_over(ledger: LedgerFixture) -> None:
    """The one unknown answer that kills: the adapter is sure that nothing goes on here."""
    ledger.play(Says(UnknownContextError()))
    await ledger.open()
    assert await outcomes(ledger, 2) == [(403, True), (500, False)]
    assert (await ledger.intent()).state is IntentState.KILLED


class Older(msgspec.Struct):
    """What a process of the version before knows of a stored intent: no ``doubts``."""

    v: int
    tokens: list[str]
    failures: int
    failures_max: int


async def test_a_process_of_the_version_before_forgets_no_doubt(ledger: LedgerFixture) -> None:
    """It writes the intent back without the field; as few codes may be sent afterwards."""
    ledger.play(Says(UnknownStepError(), UnknownStepError(), Rejected()))
    await ledger.open()
    await outcomes(ledger, 2)
    key = ledger.attempts.store.keys.intent(PROVIDER, ACCOUNT)
    stored: dict[str, Any] = json.loads(await ledger.side.client.get(key))
    assert msgspec.convert(stored, Older).failures_max == 1, "what the older goes by"
    assert stored.pop("doubts") == 2
    await ledger.side.client.set(key, json.dumps(stored))
    assert [status for status, _ in await outcomes(ledger, 1, first=2)] == [500]
    assert (await ledger.intent()).state is IntentState.KILLED


# Another way ---------------------------------------------------------------------------


class Knowing(Actor):
    """An adapter that names the methods of its context."""

    def __init__(self, *ways: str) -> None:
        super().__init__(Says(CLEARED), prepares=False, another_way=False)
        self.named = ways

    def ways(self, challenge: Challenge) -> Sequence[str]:
        assert challenge.context is not None
        return self.named


@pytest.mark.parametrize(
    ("ways", "told"),
    [
        (("SMS", "EMAIL", "SMS"), "The provider offers: SMS, EMAIL."),
        (("WHATSAPP", "+33 ** ** 78", "j***@example.org", "sms"), "offers: WHATSAPP."),
        ((), "knows no other way"),
        (("+33 ** ** 78",), "knows no other way"),
    ],
)
async def test_another_way_tells_the_methods_and_nothing_of_the_person(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch, ways: tuple[str, ...], told: str
) -> None:
    """Source words alone; what an adapter took from the provider is left out."""
    actor = Knowing(*ways)
    for place in (
        "checkpoint_worker.tasks.execution.attempt",
        "checkpoint_worker.tasks.operations.acceptance",
    ):
        monkeypatch.setattr(f"{place}.adapter_for", lambda *_: actor)
    await ledger.open()
    record = await ledger.run(await ledger.submit("TRY_ANOTHER_WAY"))
    assert (record.status, record.code_sent, record.type) == (403, False, "action_required")
    assert record.body is not None
    detail = str(record.body["detail"])
    assert told in detail
    assert "*" not in detail
    assert (await ledger.intent()).faults == 0
    assert not actor.challenges


async def test_an_adapter_whose_ways_fail_is_a_bug_told_at_once(
    ledger: LedgerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's code runs here, too."""
    actor = Knowing("SMS")
    monkeypatch.setattr(actor, "ways", lambda _: 1 / 0)
    for place in (
        "checkpoint_worker.tasks.execution.attempt",
        "checkpoint_worker.tasks.operations.acceptance",
    ):
        monkeypatch.setattr(f"{place}.adapter_for", lambda *_: actor)
    await ledger.open()
    record = await ledger.run(await ledger.submit("TRY_ANOTHER_WAY"))
    assert (record.status, record.code_sent) == (500, False)
