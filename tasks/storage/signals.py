"""The messages of the signals channel."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from checkpoint_worker.tasks.events import Signal, SignalAction


def signal_text(signal: Signal, now_ms: int) -> str:
    """Return a signal's message; it gives a drain as time left, for the receiver's own clock."""
    left_ms = None if signal.until_ms is None else max(0, signal.until_ms - now_ms)
    return orjson.dumps(
        {
            "submission_id": signal.submission_id,
            "do": signal.do,
            "left_ms": left_ms,
            "successor": signal.successor,
        }
    ).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardSignal:
    """A signal as a worker receives it; ``left_s`` counts from the moment of receipt."""

    submission_id: str
    do: SignalAction
    left_s: float | None = None
    successor: str | None = None


def parse_signal(text: str) -> HeardSignal:
    """Read a message of the signals channel.

    Raises:
        ValueError: It is no signal of this project.
    """
    try:
        raw = orjson.loads(text)
        left_ms = raw["left_ms"]
        return HeardSignal(
            submission_id=str(raw["submission_id"]),
            do=SignalAction(raw["do"]),
            left_s=None if left_ms is None else left_ms / 1000,
            successor=raw["successor"],
        )
    except (KeyError, TypeError) as error:
        msg = "not a signal"
        raise ValueError(msg) from error
