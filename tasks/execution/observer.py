"""Events that an operator may count, one method each; the default observer ignores them.

Attempts report events as they happen; `worker.observability.metrics` counts them. The attempts'
event loop calls the observer, so an observer must be quick, must not raise and must not keep its
arguments.
Outcomes are not reported here: each process that writes one (client, gateway, worker) appends it to
the stream, where all of them can be counted.
"""

from __future__ import annotations

import enum


class Refusal(enum.StrEnum):
    """Reason why a code was not sent although its turn had come."""

    STOPPED = "stopped"
    """The submission became final before the claim."""
    BUSY = "busy"
    """Another exchange of the intent was still open; the attempt waits and tries again."""
    CHANGED = "changed"
    """A previous exchange changed the challenge; the attempt builds its request anew."""
    LATE = "late"
    """The code could not be sent in time, or the attempt was stopped right after its claim."""
    SEALED = "sealed"
    """The code cannot be opened here: another ``CHECKPOINT_SECRET_KEYS``."""
    UNANSWERED = "unanswered"
    """The ledger did not answer the claim."""


class Observer:
    """Receives the events of this process; this class ignores them."""

    __slots__ = ()

    def began(self, provider: str, waited_ms: int) -> None:
        """The first attempt of a submission began, ``waited_ms`` after its acceptance."""

    def refused(self, provider: str, reason: Refusal) -> None:
        """A code was not sent, for this reason."""

    def exchanged(self, provider: str, took_s: float) -> None:
        """The exchange of a sent code ended, ``took_s`` after the claim."""

    def swept(self, provider: str) -> None:
        """The sweeper settled a submission."""

    def success_lost(self) -> None:
        """A provider let an account in, and the intent no longer takes the success."""

    def woken_again(self) -> None:
        """The sweeper woke a submission that waited without a message."""

    def worker_lost(self) -> None:
        """The sweeper judged a worker lost."""


SILENT = Observer()
