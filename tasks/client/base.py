"""The common part of `CheckpointClient` and `AsyncCheckpointClient`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from checkpoint_worker.tasks.client.waiter import POLL_S, Waiter
from checkpoint_worker.tasks.client.wake_sender import WakeSender
from checkpoint_worker.tasks.operations.submissions import Operations, unavailable
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.operations.wake import make_producer
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerError, Operation
from checkpoint_worker.tasks.storage.ids import this_process
from checkpoint_worker.tasks.storage.steps import Steps

T = TypeVar("T")
READ: Final = "The ledger did not answer; repeat the call."
OPENED: Final = (
    "The ledger did not answer: whether the intent was opened is unknown; open it again."
)
TAKEN: Final = (
    "The ledger did not answer; read this submission id to learn whether it was accepted."
)
ENDED: Final = (
    "The ledger did not answer: it is unknown whether it was ended; repeating the call is safe."
)
SESSION: Final = "The ledger did not answer; repeat the call with the same token within a minute."


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

    _ears: Any
    """The outcome waiter."""

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

    @abstractmethod
    def _run(
        self, steps: Operation[Any], known: str = READ, submission_id: str | None = None
    ) -> Any:  # noqa: ANN401  the result, or an awaitable of it
        """Run an operation on the ledger."""

    def _wait(self, submission_id: str, timeout_s: float) -> Steps[Outcome | None]:
        """Wait for an outcome."""
        end = time.monotonic() + timeout_s
        record: Outcome | None
        record, due_s = yield self._run(self._core.look(submission_id))
        while record is not None and not record.is_final:
            left_s = end - time.monotonic()
            if left_s <= 0:
                return record
            channel = self._core.store.keys.account_results(record.account_id)
            is_deaf = not self._ears.board.hearing  # It starts, or no thread could be started.
            pause_s = min(due_s, POLL_S) if is_deaf else due_s
            waiter: Waiter = yield self._ears.wait(submission_id, channel, min(pause_s, left_s))
            if waiter.told:
                return waiter.record
            if is_deaf and self._ears.board.hearing:
                due_s -= pause_s  # It listens now, and reads what was published before.
                continue
            is_up = left_s <= pause_s and not waiter.signal.is_set()  # Set: the listener has ended.
            if is_up and not self._ears.board.hearing:
                return record  # The ledger is unreachable; a read would exceed the timeout.
            due_s = POLL_S
            with suppress(CheckpointError):  # Keep waiting through a short outage of the ledger.
                record, due_s = yield self._run(self._core.look(submission_id))
        return record

    def _reads(
        self, account_id: str | None, group: str | None, limit: int, reader: str | None
    ) -> Iterator[Operation[list[Outcome]]]:
        """Yield the operations that read the records of `CheckpointClient.outcomes` in turn."""
        self._core.check_limit(limit)
        self._core.check_names(group, reader)
        if group is None:
            yield self._core.store.recent(account_id, limit)
            return
        done: str | None = ""
        given = 0

        def read(most: int) -> Operation[list[Outcome]]:
            nonlocal done, given
            assert done is not None
            found = yield from self._core.next_of(group, reader, done, account_id, most)
            done, record = found[0] if found else (None, None)
            if record is None or account_id not in (None, record.account_id):
                return []
            given += 1
            return [record]

        while given < limit and done is not None:
            yield read(1)
        if done is not None:
            yield read(0)

    def _wake(self, submission_id: str, account_id: str, provider: str) -> None:
        self._waker.wake(self._producer, submission_id, account_id, provider)
