"""The state table as text: names for what its cases speak of, and the reader of the file.

A case is a line of the file with five columns: the column of the table with a label, the intent
before, the event, the instant where it is not `NOW`, and the **whole** decision. A value is a name
of `NAMES`, and ``NAME(field=value)`` is the same value but for these fields; a small word that is
no name stands for itself (``s3``).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from checkpoint_worker.providers.contract import Cleared, NextCheckpoint, Rejected, SolutionKind
from checkpoint_worker.tasks import catalogue, rules
from checkpoint_worker.tasks.catalogue import Pair, Success, pair
from checkpoint_worker.tasks.events import (
    Abort,
    AttemptFinished,
    Begin,
    Cancel,
    Claim,
    Decision,
    DecisionStatus,
    Event,
    Failed,
    Kill,
    Open,
    Signal,
    SignalAction,
    Submit,
    Tick,
    Wake,
    WorkerLost,
)
from checkpoint_worker.tasks.model import (
    Generation,
    Intent,
    IntentState,
    Phase,
    Purpose,
    Seq,
    Settlement,
    Submission,
    replace,
)
from tests.support import builders
from tests.support.builders import (
    APP,
    BEHIND,
    CONTEXT,
    IDLE,
    LIMITS,
    NOW,
    PREPARING,
    RUN,
    SENT,
    SESSION,
    SUB,
    USER,
    WORKER,
    final,
)


class Case(Struct, frozen=True, kw_only=True):
    """One way into a cell, and everything that comes of it."""

    row: str
    column: str
    label: str = ""
    given: Intent | None
    event: Event
    at: int = NOW
    then: Decision


def _signal(do: SignalAction) -> Callable[..., tuple[Signal, ...]]:
    def make(submission_id: str, **more: Any) -> tuple[Signal, ...]:
        return (Signal(submission_id=submission_id, do=do, **more),)

    return make


def _final(submission: Submission, told: str, **rest: Any) -> tuple[Settlement, ...]:
    return final(submission, ANSWERS[told], **rest)


ANSWERS: Final[dict[str, Pair | Success]] = {
    **{f"{status} {word}": found for (status, word), found in catalogue.PAIRS.items()},
    **{f"{success.status} {success.object}": success for success in Success},
}
"""Content of a final record, by its status and its type."""
_TAKES: Final[dict[str, Any]] = {
    "submission_id": "s1",
    "claim": "c1",
    "worker": WORKER,
    "run_id": RUN,
}
_OVERLOADED: Final = pair(500, "provider_error")
_RESTRICTED: Final = pair(403, "account_restricted")
_DONE: Final = Decision(reply=DecisionStatus.DONE)
_STOP: Final = Decision(reply=DecisionStatus.STOP)
_NEWER: Final = replace(
    SUB, id="s3", seq=Seq(2), digest="d3", queued_at_ms=NOW, deadline_ms=NOW + LIMITS.deadline_ms
)
_OPEN: Final = Open(
    account_id="acc_1",
    provider="LINKEDIN",
    checkpoint=APP,
    purpose=Purpose.RECONNECT,
    user_id="u2",
)
_OPENED: Final = _OPEN.fresh_intent(NOW, LIMITS)
_ANSWER: Final = AttemptFinished(
    submission_id="s1",
    generation=Generation(1),
    claim="c1",
    kind=SolutionKind.CODE,
    verdict=Rejected(),
)


def _answer(verdict: Any) -> AttemptFinished:
    return replace(_ANSWER, verdict=verdict)


NAMES: Final[dict[str, Any]] = {
    **{name: value for name, value in vars(builders).items() if name.isupper()},
    # Instants. A drain takes five seconds.
    "DEADLINE": SUB.deadline_ms,
    "LAST_CLAIM": SUB.deadline_ms - LIMITS.min_send_ms,
    "OVER": IDLE.expires_at_ms,
    "SENT_UNTIL": SENT.until_ms,
    "HOUR": rules.HOUR_MS,
    # What s1 is on the wire after `begin`, after `claim` and after its holder was told to hang up.
    "TAKEN": replace(PREPARING, until_ms=NOW + LIMITS.prepare_ms),
    "SENT_NOW": replace(SENT, until_ms=NOW + LIMITS.provider_timeout_ms),
    "DRAINED": replace(
        SENT, phase=Phase.DRAINING, drain_at_ms=NOW, drain_until_ms=NOW + LIMITS.drain_ms
    ),
    # s2 has the wire itself, or may have it.
    "SENT_2": replace(SENT, submission_id="s2", claim="c2", digest="d2"),
    "AHEAD": replace(BEHIND, wire=None),
    # The submission that `SUBMIT` makes, and the intent that `OPEN` makes over another one.
    "NEWER": _NEWER,
    "FRESH": replace(
        _OPEN.fresh_intent(NOW, LIMITS), version=IDLE.version, generation=Generation(2)
    ),
    "OPENED": _OPEN.fresh_intent(NOW, LIMITS),
    # Events.
    "BEGIN": Begin(**_TAKES),
    "CLAIM": Claim(**_TAKES),
    "WAKE": Wake(submission_id="s1", run_id=RUN),
    "SUBMIT": Submit(submission_id="s3", kind=SolutionKind.CODE, digest="d3", run_id=RUN),
    "ABORT": Abort(
        submission_id="s1",
        generation=Generation(1),
        claim="c1",
        failure=_OVERLOADED,
        detail="why",
        counted=True,
    ),
    "TICK": Tick(run_id=RUN),
    "LOST_WORKER": WorkerLost(worker=WORKER),
    "CANCEL": Cancel(submission_id="s1"),
    "KILL": Kill(),
    "OPEN": _OPEN,
    # What came of the exchange of s1.
    "FITS": _answer(Cleared(user_id=USER, session=SESSION)),
    "UNEXPECTED": _answer(Cleared(user_id="somebody-else", session=SESSION)),
    "REJECTS": _ANSWER,
    "REFUSED": _answer(Rejected(context=CONTEXT)),
    "FURTHER": _answer(NextCheckpoint(checkpoint=APP, context=CONTEXT)),
    "MISMATCH": _answer(
        Failed(failure=pair(403, "session_mismatch"), detail="no", context=CONTEXT)
    ),
    "STEP": _answer(Failed(failure=catalogue.UNKNOWN_CONTEXT)),
    "BLOCKED": _answer(Failed(failure=_RESTRICTED)),
    "BLOCKED_BEFORE": _answer(Failed(failure=_RESTRICTED, sent=False)),
    "SILENT_BEFORE": _answer(Failed(failure=catalogue.PROVIDER_TIMED_OUT, sent=False)),
    "GONE": _answer(Failed(failure=catalogue.KILLED)),
    "BROKEN": _answer(Failed(failure=_OVERLOADED, detail="why", context=CONTEXT)),
    "UNCLEAR": _answer(
        Failed(failure=catalogue.ACTION_REQUIRED, detail="why", context=CONTEXT, in_doubt=True)
    ),
    # Decisions: a reply, what is only noted, and a session to hand over.
    **{status.name: Decision(reply=status) for status in DecisionStatus},
    "IGNORED": replace(_STOP, notes=("attempt.verdict_ignored",)),
    "IGNORED_FREES": replace(_DONE, notes=("attempt.verdict_ignored",)),
    "LOST": replace(_STOP, notes=("intent.success_lost",)),
    "LOST_FREES": replace(_DONE, notes=("intent.success_lost",)),
    "CLEARED": replace(_DONE, session=SESSION, user_id=USER),
    "final": _final,
    "pair": pair,
    **{do.value: _signal(do) for do in SignalAction},
    # Words.
    **{name: value for name, value in vars(rules).items() if name.startswith("DETAIL_")},
    "ANOTHER_WAY": SolutionKind.ANOTHER_WAY,
    "DRAIN_PHASE": Phase.DRAINING,
    **{f"IS_{state.name}": state for state in IntentState},
    **{name: purpose for name, purpose in vars(Purpose).items() if name.isupper()},
}


def value(text: str) -> Any:
    """Return what an expression of the table stands for."""
    return _value(ast.parse(text, mode="eval").body)


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return NAMES[node.id] if node.id.isupper() else NAMES.get(node.id, node.id)
        case ast.BinOp(op=ast.Add()):
            return _value(node.left) + _value(node.right)
        case ast.BinOp(op=ast.Sub()):
            return _value(node.left) - _value(node.right)
        case ast.Call():
            named = {word.arg: _value(word.value) for word in node.keywords if word.arg}
            made = _value(node.func)
            if isinstance(made, Struct):
                return replace(made, **named)
            return made(*map(_value, node.args), **named)
    raise ValueError(ast.unparse(node))


FILE: Final = Path(__file__).parents[1] / "unit" / "state_table.txt"


def cases(text: str) -> Iterator[Case]:
    """Yield the cases of a file: a heading for each row, and more of a line further in."""
    row = ""
    for line in text.replace("\n    ", " ").splitlines():
        if line.startswith("== "):
            row = line.removeprefix("== ")
        elif line:
            column, given, event, *at, then = line.split(" | ")
            column, _, label = column.removesuffix(")").partition(" (")
            yield Case(
                row=row,
                column=column,
                label=label,
                given=value(given),
                event=value(event),
                at=value(at[0].removeprefix("at ")) if at else NOW,
                then=value(then),
            )
