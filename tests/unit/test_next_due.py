"""The due instant: the sweeper never comes too late, and never for nothing for ever."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoint_worker.tasks.events import Tick
from checkpoint_worker.tasks.model import (
    ExchangeLease,
    Generation,
    Intent,
    IntentState,
    Phase,
    replace,
)
from checkpoint_worker.tasks.rules import decide, next_due_ms
from tests.support.builders import BEGUN, BEHIND, CLAIMED, IDLE, LIMITS, NOW, PREPARING, RUN, SUB

MOMENTS = st.integers(min_value=NOW - 40_000, max_value=NOW + 40_000)
FAR = 10_000_000


@st.composite
def wires(draw: st.DrawFn) -> ExchangeLease:
    """Draw a wire in any phase, its own or an older one's."""
    phase = draw(st.sampled_from(Phase))
    sent = phase is not Phase.PREPARING
    drains = phase is Phase.DRAINING and draw(st.booleans())
    began = draw(MOMENTS)
    return replace(
        PREPARING,
        submission_id=draw(st.sampled_from(["s1", "s0"])) if sent else "s1",
        generation=Generation(draw(st.sampled_from([1, 2]))) if sent else Generation(2),
        claim="c1",
        phase=phase,
        until_ms=draw(MOMENTS),
        digest="d1" if sent else None,
        drain_at_ms=began if drains else None,
        drain_until_ms=began + LIMITS.drain_ms if drains else None,
    )


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """Draw an intent in any state the rules can bring about, and some they cannot."""
    state = draw(st.sampled_from(IntentState))
    waits = state is IntentState.OPEN and draw(st.booleans())
    current = replace(
        SUB, deadline_ms=draw(MOMENTS), duplicate_of=draw(st.sampled_from([None, "c1"]))
    )
    return replace(
        IDLE,
        state=state,
        generation=Generation(2),
        expires_at_ms=draw(MOMENTS),
        faults=draw(st.sampled_from([0, 9])),
        current=current if waits else None,
        wire=draw(st.none() | wires()),
    )


@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(intent=intents(), acked_ms=st.none() | MOMENTS, later=MOMENTS)
def test_no_sweep_before_the_due_instant_changes_anything(
    intent: Intent, acked_ms: int | None, later: int
) -> None:
    """Were it later than the first change, a submission would miss its deadline by the gap.

    Where nothing is due, no sweep ever does anything: an ended intent leaves the index.
    """
    tick = Tick(run_id=RUN, acked_ms=acked_ms)
    due_ms = next_due_ms(intent, LIMITS)
    moments = (later, FAR) if due_ms is None else (min(later, due_ms - 1), due_ms - 1)
    for now_ms in moments:
        decision = decide(intent, tick, now_ms, LIMITS)
        assert not decision.writes
        assert not decision.signals


@settings(max_examples=400, derandomize=True, database=None)
@given(intent=intents(), now_ms=MOMENTS, later=MOMENTS)
def test_after_a_sweep_in_vain_none_changes_anything_before_the_next_instant(
    intent: Intent, now_ms: int, later: int
) -> None:
    """A sweep passes over what it could not change; only an answered heartbeat comes sooner."""
    tick = Tick(run_id=RUN, acked_ms=None)
    if decide(intent, tick, now_ms, LIMITS).writes:
        return
    next_ms = next_due_ms(intent, LIMITS, after_ms=now_ms)
    for moment in (later, FAR) if next_ms is None else (min(later, next_ms - 1), next_ms - 1):
        if moment > now_ms:
            assert not decide(intent, tick, moment, LIMITS).writes


@settings(max_examples=400, derandomize=True, database=None)
@given(intent=intents())
def test_sweeps_at_the_due_instants_bring_every_intent_to_rest(intent: Intent) -> None:
    """Each sweep at its instant moves something on; nothing is due for ever.

    The heartbeat is answered, as a drain's instant alone frees nothing.
    """
    for _ in range(5):
        due_ms = next_due_ms(intent, LIMITS)
        if due_ms is None:
            break
        decision = decide(intent, Tick(run_id=RUN, acked_ms=FAR), due_ms, LIMITS)
        assert decision.intent is not None
        intent = decision.intent
    assert next_due_ms(intent, LIMITS) is None
    assert intent.current is None
    assert intent.wire is None
    assert intent.state is not IntentState.OPEN


def test_the_earliest_of_deadline_drain_and_limit_is_due() -> None:
    """The rows that wait for time, one by one."""
    assert next_due_ms(IDLE, LIMITS) == IDLE.expires_at_ms
    assert next_due_ms(BEGUN, LIMITS) == PREPARING.until_ms + 1_000
    assert next_due_ms(CLAIMED, LIMITS) == min(SUB.deadline_ms, NOW + 17_000)
    assert next_due_ms(BEHIND, LIMITS) == NOW + 5_000
    assert next_due_ms(replace(IDLE, state=IntentState.COMPLETED), LIMITS) is None
