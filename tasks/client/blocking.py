"""The blocking client, `CheckpointClient`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from queue import Empty
from typing import Any, Final, Self

from pydantic import Secret

from checkpoint_worker.tasks.client.base import (
    ENDED,
    OPENED,
    READ,
    SESSION,
    TAKEN,
    BaseClient,
    T,
    answering,
)
from checkpoint_worker.tasks.client.slots import free_slots
from checkpoint_worker.tasks.client.waiter import OutcomeWaiter
from checkpoint_worker.tasks.operations.acceptance import Submitted
from checkpoint_worker.tasks.operations.submissions import IntentInfo
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import (
    CONNECTIONS_MAX,
    LedgerUnavailableError,
    Operation,
    SyncExecutor,
    connect,
)
from checkpoint_worker.tasks.storage.steps import run_blocking
from checkpoint_worker.tasks.tracebacks import no_values

LISTENER_CONNECTIONS: Final = 4
"""Connections of the blocking client's pool that are kept free for its outcome waiter."""
CALLS_MAX: Final = CONNECTIONS_MAX - LISTENER_CONNECTIONS
"""Maximum number of concurrent calls of the blocking client."""
TURN_S: Final = 10.0
"""Maximum time that a call waits for a free slot. A thousand concurrent threads are served within
seconds; if the ledger is silent, they must not wait for one another's timeouts."""
NO_TURN: Final = "the ledger did not answer others in time"


class CheckpointClient(BaseClient):
    """Submits codes and reads outcomes, blocking. Threads and greenlets may share one client.

    Args:
        settings: The settings, read from ``CHECKPOINT_*`` in the environment if not given.
    """

    _ears: OutcomeWaiter

    def _connect(self) -> None:
        self._redis = connect(self.settings.redis_url.get_secret_value(), self.settings.prefix)
        self._executor = SyncExecutor(self._redis)
        places = self._redis.connection_pool.max_connections - LISTENER_CONNECTIONS
        self._room = free_slots(min(CALLS_MAX, places))
        self._ears = OutcomeWaiter(self._redis, self._executor, self._core.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._renew_after_fork()
        self._ears.close()
        self._redis.close()
        self._producer.close()

    def _run(self, steps: Operation[T], known: str = READ, submission_id: str | None = None) -> T:
        self._renew_after_fork()
        with no_values(CheckpointError), answering(known, submission_id):
            try:
                self._room.get(timeout=TURN_S)
            except Empty:
                raise LedgerUnavailableError(NO_TURN) from None
            try:
                return self._executor.run(steps)
            finally:
                self._room.put(None)

    def open_intent(
        self,
        *,
        account_id: str,
        provider: str,
        checkpoint: Mapping[str, str | None],
        context: Mapping[str, object],
        proxy: str | None = None,
        purpose: str = "connect",
        user_id: str | None = None,
    ) -> IntentInfo:
        """Open an intent: a login that stopped at a checkpoint.

        Args:
            account_id: The account; opaque, 1-256 characters.
            provider: ``LINKEDIN``, ``INSTAGRAM``, ``TWITTER`` or ``MESSENGER``.
            checkpoint: The checkpoint that the provider shows: ``{"type": …, "source": …}``.
            context: The data with which the adapter continues the login; sealed at once.
            proxy: ``http``, ``https``, ``socks5`` or ``socks5h`` URL; sealed at once.
            purpose: ``connect`` or ``reconnect``.
            user_id: The provider's user id that the account must turn out to have.

        Raises:
            CheckpointError: An argument is invalid and nothing was stored; or 503.
        """
        steps = self._core.open_intent(
            account_id=account_id,
            provider=provider,
            checkpoint=checkpoint,
            context=context,
            proxy=proxy,
            purpose=purpose,
            user_id=user_id,
        )
        del context, proxy
        return self._run(steps, OPENED)

    def submit(
        self,
        *,
        account_id: str,
        provider: str,
        code: str,
        submission_id: str | None = None,
        checkpoint_step: int | None = None,
    ) -> Submitted:
        """Submit a solution and return at once, without waiting for the outcome.

        A second call with the same id returns the record of the first one. A caller that may have
        to repeat a call whose answer was lost passes the id itself: an accepted submission is not
        accepted a second time.

        Args:
            account_id: The account of the intent; opaque, 1-256 characters.
            provider: The provider of the intent.
            code: The code, a phone number or ``TRY_ANOTHER_WAY``; at most 256 characters, sealed
                at once.
            submission_id: 1-128 of ``A-Za-z0-9_-``; by default a new one is made.
            checkpoint_step: The checkpoint step that the code answers, from 1; a submission for
                another step is refused. ``None``: the current step.

        Returns:
            The record of the submission: queued, or final already if it was settled at once.

        Raises:
            CheckpointError: The submission was refused before anything was stored. If the ledger
                did not answer, the error is a 503 with the submission id, and the submission may
                have been accepted.
        """
        secret = Secret[object](code)
        del code
        with no_values(CheckpointError):
            request, new = self._core.read_submission(
                account_id, provider, secret.get_secret_value(), submission_id
            )
        submitted = self._run(self._core.submit(request, new, checkpoint_step), TAKEN, new)
        if submitted.needs_notification:
            self._wake(new, account_id, provider)
        return submitted

    def result(self, submission_id: str) -> Outcome | None:
        """Return the record, queued, running or final; ``None`` if the id is unknown.

        Raises:
            CheckpointError: The ledger did not answer (503).
        """
        return self._run(self._core.result(submission_id))

    def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """Wait for the outcome of a submission.

        Args:
            submission_id: The submission.
            timeout_s: Maximum time to wait, seconds; the default is longer than the default
                deadline of a submission, 30 s.

        Returns:
            The final record, or the queued or running one when the timeout has passed; ``None`` if
            the id is unknown.

        Raises:
            CheckpointError: The ledger did not answer the first read (503); later failures of it
                are waited out.
        """
        return run_blocking(self._wait(submission_id, timeout_s))

    def outcomes(
        self,
        account_id: str | None = None,
        group: str | None = None,
        limit: int = 100,
        reader: str | None = None,
    ) -> Iterator[Outcome]:
        """Read final records from the stream.

        Without a group, the method yields the newest ``limit`` records, the newest first. With a
        group, it yields the records that the group has not finished, the oldest first, at most
        ``limit``, and ends when none is left. Delivery is **at least once**: a record is finished
        when the next one is requested. A record that a reader held when it ended is delivered
        again: to a reader of the same name at once, to any other reader a minute after the first
        delivery. A consumer must therefore tolerate a repeated record and can recognise it by
        ``submission_id``.

        Args:
            account_id: Yield only this account's records; a group finishes those of others
                without yielding them.
            group: Name of the consumer group whose readers share the records.
            limit: 1 to 1,000.
            reader: Name of the reader, 1-128 characters; one loop at a time may use it. A reader
                that starts again under its old name gets at once the records that it held. By
                default each process has a new name.

        Raises:
            CheckpointError: An argument is invalid, or the ledger did not answer.
        """
        for steps in self._reads(account_id, group, limit, reader):
            yield from self._run(steps)

    def cancel(self, submission_id: str) -> Outcome | None:
        """Cancel a submission; return its record, which is final, ``None`` if the id is unknown.

        Raises:
            CheckpointError: The ledger did not answer (503): it is unknown whether the submission
                was ended, and repeating the call is safe.
        """
        return self._run(self._core.cancel(submission_id), ENDED)

    def intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """Return the current state of the intent, ``None`` if there is none.

        Raises:
            CheckpointError: An argument is invalid (400), or the ledger did not answer (503).
        """
        return self._run(self._core.intent(account_id, provider))

    def kill_intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """End an intent; its running submission and all later ones are answered with 500.

        Returns:
            The intent after the call, ``None`` if there is none.

        Raises:
            CheckpointError: An argument is invalid (400), or the ledger did not answer (503): it
                is unknown whether the intent was ended, and repeating the call is safe.
        """
        return self._run(self._core.kill_intent(account_id, provider), ENDED)

    def take_session(
        self, account_id: str, provider: str, token: str | None = None
    ) -> dict[str, Any] | None:
        """Take the session of a cleared intent, once.

        The same token (by default this client's own) may take it again for 60 s, so that a
        lost reply is not a lost session.

        Returns:
            The model of its provider as JSON (`providers.sessions.Session`,
            ``deploy/docs/sessions.md``): provider, user id, user agent, device, app, cookies with
            all their attributes, headers, and the provider's own fields. A live session or a
            plug-in without a model hands over any fields, with provider and user id. ``None`` if
            there is no session, or if it was taken with another token.
        """
        return self._run(self._core.take_session(account_id, provider, token), SESSION)
