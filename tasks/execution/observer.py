"""Facts that an operator may count: one method for each; the default observer ignores them.

Attempts report facts as they happen; `worker.observability.metrics` counts them. They are reported
on the loop that runs the attempts, so an observer must be quick, must not raise and must not keep
its arguments.
Outcomes are not told here: whoever writes one (client, gateway, reader, worker) appends it to the
stream, and that is where all of them can be counted.
"""

from __future__ import annotations

import enum


class Refusal(enum.StrEnum):
    """Why a code that was about to be sent was not."""

    STOPPED = "stopped"
    """The submission became final while the attempt was on its way."""
    BUSY = "busy"
    """Another exchange of the intent was still open; the attempt waits and tries again."""
    CHANGED = "changed"
    """An elder's answer changed the challenge; the attempt builds its request anew."""
    LATE = "late"
    """More than a second lay between the claim and the first byte, or it was stopped in it."""
    SEALED = "sealed"
    """The code cannot be opened here: another ``CHECKPOINT_SECRET_KEYS``."""
    UNANSWERED = "unanswered"
    """The ledger did not answer the claim."""


class Observer:
    """Hears what happens to submissions in this process; this one listens to nothing."""

    __slots__ = ()

    def began(self, provider: str, waited_ms: int) -> None:
        """A submission's turn came, so long after it was accepted."""

    def refused(self, provider: str, reason: Refusal) -> None:
        """A code was not sent after all."""

    def exchanged(self, provider: str, took_s: float) -> None:
        """A code was sent, and its exchange has ended so long after the claim."""

    def swept(self, provider: str) -> None:
        """The sweeper settled a submission."""

    def success_lost(self) -> None:
        """A provider let an account in, and nobody could be told: its intent is another now."""

    def woken_again(self) -> None:
        """The sweeper woke a submission that waited without a message."""

    def worker_lost(self) -> None:
        """The sweeper judged a worker lost."""


SILENT = Observer()
