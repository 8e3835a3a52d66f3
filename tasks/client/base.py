"""The common part of `CheckpointClient` and `AsyncCheckpointClient`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from checkpoint_worker.tasks.client.wake_sender import WakeSender
from checkpoint_worker.tasks.operations.submissions import Operations, unavailable
from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.tasks.storage.ids import this_process

T = TypeVar("T")
READ: Final = "The ledger did not answer; ask again."
OPENED: Final = (
    "The ledger did not answer: whether the intent was opened is unknown; open it again."
)
TAKEN: Final = (
    "The ledger did not answer; ask for this submission id to learn whether it was taken."
)
ENDED: Final = "The ledger did not answer: whether it was ended is unknown; twice does no harm."
SESSION: Final = "The ledger did not answer; the same token may ask again for a minute."


@contextmanager
def answering(known: str, submission_id: str | None = None) -> Iterator[None]:
    """Turn an error of the ledger into a 503 whose detail is ``known``.

    Raises:
        CheckpointError: The ledger did not answer.
    """
    try:
        yield
    except LedgerError as error:
        raise unavailable(error, known, submission_id) from error


class BaseClient(ABC):
    """The common part of both clients: settings, operations, and the renewal after a fork."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._core = Operations(self.settings)
        self._process = this_process()
        self._begin()

    def _renew_after_fork(self) -> None:
        """Make all per-process objects again if this process is a fork.

        Every call checks this, because no hook runs where a C program forks.
        """
        process = this_process()
        if self._process is process:
            return
        with process.lock:
            if self._process is process:
                return
            # Keep the parent's objects alive: closing or collecting them would send data on
            # connections that the parent still uses.
            self._inherited = vars(self).copy()
            self._begin()
            self._process = process

    def _begin(self) -> None:
        """Make the per-process objects."""
        # The token identifies a group's reader and a session's taker, so a fork needs its own.
        self._core.forget_token()
        self._producer = make_producer(self.settings)
        self._waker = WakeSender()
        self._connect()

    @abstractmethod
    def _connect(self) -> None:
        """Make the connections to the ledger."""

    def _wake(self, submission_id: str, account_id: str, provider: str) -> None:
        self._waker.wake(self._producer, submission_id, account_id, provider)
