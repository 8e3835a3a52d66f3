"""What a web backend imports: `CheckpointClient` and, awaited, `AsyncCheckpointClient`.

Both do the same with the same steps; only the door they run them through differs. Neither
needs a worker to read: a record that is overdue is settled by whoever looks at it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Self

import redis.asyncio
from pydantic import BaseModel, ConfigDict, Field
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from providers.contract import Checkpoint, ProviderFailure
from tasks import catalogue
from tasks.events import Cancel, Kill, Reply
from tasks.intake import (
    SUBMISSION_ID,
    CheckpointError,
    Request,
    Sealed,
    Submitted,
    open_steps,
    read_account,
    read_checkpoint,
    read_context,
    read_request,
    read_step,
    read_submission_id,
    read_user_id,
    submit_steps,
    unknown_submission,
)
from tasks.keys import Keys
from tasks.ledger import (
    AsyncDoor,
    LedgerError,
    Steps,
    SyncDoor,
    answered,
    connect,
    connect_async,
)
from tasks.messages import make_producer, send_wake
from tasks.model import Intent, IntentState, Purpose, Settlement, Submission
from tasks.records import Outcome, timestamp
from tasks.rules import DETAIL_MAYBE_USED
from tasks.settings import Settings
from tasks.store import Store
from tasks.vault import Vault, session_name

LIMIT_MAX: Final = 1_000
POLL_S: Final = 1.0
"""Between two reads of a record while waiting, should a publication be missed."""
OVERDUE_MS: Final = 1_000
"""A non-final record this long after its deadline is settled by its reader."""
WAITS_MAX: Final = 1_000
"""Threads of one blocking client that may wait at once; each has a connection of its own."""
LISTEN_S: Final = 1.0
"""How long an ear listens at a time."""
REHEAR_S: Final = 0.5
"""Before a lost subscription is made anew."""
ABANDONED_MS: Final = 60_000
"""A record that a reader of a group has held for so long is given to the next who asks."""

log = logging.getLogger("checkpoint.client")


class IntentInfo(BaseModel):
    """An intent as its owner may see it. Carries no secret."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    provider: str
    purpose: Purpose
    state: IntentState
    generation: int
    checkpoint: Mapping[str, str | None]
    checkpoint_step: int
    failures: int
    failures_left: int
    faults: int
    opened_at: datetime
    expires_at: datetime
    current: str | None = Field(description="The submission without an outcome, if any.")
    busy: bool = Field(description="Whether an exchange with the provider may be running.")


def make_store(settings: Settings) -> Store:
    """Return the ledger these settings describe."""
    return Store(
        keys=Keys(settings.prefix),
        limits=settings.limits,
        result_ttl_ms=round(settings.result_ttl_s * 1000),
        outcomes_max=settings.outcomes_max,
        embedded=settings.embedded,
    )


def make_vault(settings: Settings) -> Vault:
    """Return the vault these settings describe.

    Raises:
        BadKeyError: There is no usable key; the message says how to make one.
    """
    return Vault([key.get_secret_value() for key in settings.secret_keys])


class _Core:
    """What both clients do, as steps."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = make_store(settings)
        self.vault = make_vault(settings)
        self.token = secrets.token_hex(16)

    def open_intent(
        self,
        *,
        account_id: object,
        provider: object,
        checkpoint: object,
        context: object,
        proxy: object = None,
        purpose: object = "connect",
        user_id: object = None,
    ) -> Steps[IntentInfo]:
        account, name = read_account(self.settings, account_id, provider)
        expected = read_user_id(user_id)
        if purpose not in list(Purpose):
            msg = "`purpose` is `connect` or `reconnect`."
            raise CheckpointError(catalogue.INVALID_PARAMETERS, msg)
        if context is None:
            raise CheckpointError(catalogue.MISSING_PARAMETERS, "`context` is missing.")
        asked = read_checkpoint(checkpoint)
        held = read_context(name, context, routes_off=self.settings.routes_off)
        sealed = Sealed(
            context=held.model_dump(mode="json"),
            proxy=_read_proxy(self.settings, proxy),
        )
        intent = yield from open_steps(
            self.store,
            self.vault,
            account_id=account,
            provider=name,
            checkpoint=asked,
            sealed=sealed,
            purpose=Purpose(str(purpose)),
            user_id=expected,
        )
        return _info(intent)

    def read_submission(
        self, account_id: object, provider: object, code: object, submission_id: object
    ) -> tuple[Request, str]:
        request = read_request(self.settings, account_id, provider, code)
        return request, read_submission_id(submission_id)

    def submit(self, request: Request, submission_id: str, step: int | None) -> Steps[Submitted]:
        return submit_steps(
            self.store,
            self.vault,
            request,
            submission_id,
            queue_max=self.settings.queue_max,
            step=read_step(step),
        )

    def result(self, submission_id: str) -> Steps[Outcome | None]:
        """Read a record; settle it first if it is overdue."""
        if not _is_id(submission_id):
            return None
        now_ms, record = yield from self.store.record(submission_id)
        if record is None or record.is_final or not self._overdue(record, now_ms):
            return record
        yield from self.store.tick(record.provider, record.account_id)
        now_ms, record = yield from self.store.record(submission_id)
        if record is None or record.is_final:
            return record
        # Its intent does not know it any more: a Redis that lost its last writes.
        settlement = Settlement(
            submission=_as_told(submission_id, record),
            answer=catalogue.TIMED_OUT,
            code_sent=True,
            detail=DETAIL_MAYBE_USED,
        )
        yield from self.store.settle_orphan(
            record.provider, record.account_id, settlement, record.generation
        )
        return (yield from self.store.record(submission_id))[1]

    def _overdue(self, record: Outcome, now_ms: int) -> bool:
        if record.queued_at is None:
            return False
        deadline_ms = _at_ms(record.queued_at) + self.store.limits.deadline_ms
        return now_ms > deadline_ms + OVERDUE_MS

    def cancel(self, submission_id: str) -> Steps[Outcome | None]:
        if not _is_id(submission_id):
            return None
        _, record = yield from self.store.record(submission_id)
        if record is None or record.is_final:
            return record
        yield from self.store.transact(
            record.provider, record.account_id, lambda _: Cancel(submission_id=submission_id)
        )
        return (yield from self.store.record(submission_id))[1]

    def intent(self, account_id: object, provider: object) -> Steps[IntentInfo | None]:
        account, name = read_account(self.settings, account_id, provider)
        snapshot = yield from self.store.read(name, account)
        return _info(snapshot.intent) if snapshot.intent else None

    def kill_intent(self, account_id: object, provider: object) -> Steps[IntentInfo | None]:
        account, name = read_account(self.settings, account_id, provider)
        result = yield from self.store.transact(name, account, lambda _: Kill())
        assert result is not None
        if result.decision.reply is Reply.STOP:
            return _info(result.snapshot.intent) if result.snapshot.intent else None
        return _info(result.intent) if result.intent else None

    def take_session(
        self, account_id: object, provider: object, token: str | None
    ) -> Steps[dict[str, Any] | None]:
        account, name = read_account(self.settings, account_id, provider)
        sealed = yield from self.store.take_session(name, account, token or self.token)
        if sealed is None:
            return None
        session: dict[str, Any] = json.loads(self.vault.open(session_name(name, account), sealed))
        return session

    def unfinished(self, group: str, limit: int) -> Steps[list[tuple[str, Outcome]]]:
        return self.store.unfinished(group, self.token, most=limit, left_ms=ABANDONED_MS)

    @staticmethod
    def check_limit(limit: object) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise CheckpointError(catalogue.INVALID_PARAMETERS, "`limit` must be an integer.")
        if limit > LIMIT_MAX:
            msg = f"`limit` is at most {LIMIT_MAX}."
            raise CheckpointError(catalogue.LIMIT_TOO_HIGH, msg)
        if limit < 1:
            raise CheckpointError(catalogue.INVALID_PARAMETERS, "`limit` must be at least 1.")


def _info(intent: Intent) -> IntentInfo:
    checkpoint: Checkpoint = intent.checkpoint
    return IntentInfo(
        account_id=intent.account_id,
        provider=intent.provider,
        purpose=intent.purpose,
        state=intent.state,
        generation=intent.generation,
        checkpoint=checkpoint.as_wire(),
        checkpoint_step=intent.step,
        failures=intent.failures,
        failures_left=max(0, intent.failures_max - intent.failures),
        faults=intent.faults,
        opened_at=timestamp(intent.opened_at_ms),
        expires_at=timestamp(intent.expires_at_ms),
        current=intent.current.id if intent.current else None,
        busy=intent.wire is not None,
    )


def _is_id(submission_id: object) -> bool:
    """Whether it can be a submission's id at all; what cannot be one is unknown."""
    return isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id) is not None


def _as_told(submission_id: str, record: Outcome) -> Submission:
    """Return the noun for a submission that only its record knows."""
    assert record.queued_at is not None
    queued_ms = _at_ms(record.queued_at)
    return replace(
        unknown_submission(submission_id, queued_ms, record.seq),
        started_at_ms=_at_ms(record.started_at) if record.started_at else None,
        supersedes=record.supersedes,
    )


def _at_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _read_proxy(settings: Settings, proxy: object) -> str | None:
    if proxy is None:
        return None
    if not isinstance(proxy, str):
        raise CheckpointError(catalogue.INVALID_PARAMETERS, "`proxy` must be a string.")
    from providers.addresses import parse_proxy  # noqa: PLC0415  only where a proxy is given

    try:
        parse_proxy(proxy, allow_private=settings.allow_private_proxies)
    except ProviderFailure as failure:
        msg = f"`proxy` cannot be used. {failure.detail}"
        raise CheckpointError(catalogue.INVALID_PARAMETERS, msg) from None
    return proxy


def _unavailable(error: LedgerError, submission_id: str) -> CheckpointError:
    msg = "The ledger did not answer; ask for this submission id to learn whether it was taken."
    refused = CheckpointError(catalogue.UNAVAILABLE, msg, submission_id)
    refused.__cause__ = error
    return refused


class CheckpointClient:
    """Submit codes and read outcomes, blocking. Safe to share between threads.

    Args:
        settings: ``CHECKPOINT_*`` from the environment if not given.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._core = _Core(self.settings)
        url = self.settings.redis_url.get_secret_value()
        self._redis, self._ears = connect(url), connect(url, WAITS_MAX)
        self._door = SyncDoor(self._redis)
        self._producer = make_producer(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._ears.close()
        self._producer.close()

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
        """Open an intent: a login that stopped at a checkpoint (CONTRACT §6).

        Args:
            account_id: Whose account; opaque, 1-256 characters.
            provider: ``LINKEDIN``, ``INSTAGRAM``, ``TWITTER`` or ``MESSENGER``.
            checkpoint: What the provider asks for: ``{"type": …, "source": …}``.
            context: What the adapter needs to continue the login; sealed at once.
            proxy: ``http``, ``https``, ``socks5`` or ``socks5h`` URL; sealed at once.
            purpose: ``connect`` or ``reconnect``.
            user_id: The provider's id the account must turn out to have.

        Raises:
            CheckpointError: Something does not fit; nothing was stored.
        """
        return self._door.run(
            self._core.open_intent(
                account_id=account_id,
                provider=provider,
                checkpoint=checkpoint,
                context=context,
                proxy=proxy,
                purpose=purpose,
                user_id=user_id,
            )
        )

    def submit(
        self,
        *,
        account_id: str,
        provider: str,
        code: str,
        submission_id: str | None = None,
        checkpoint_step: int | None = None,
    ) -> Submitted:
        """Submit a solution; returns at once. The same id again returns the same record.

        Raises:
            CheckpointError: Refused before anything was stored; 503 says in its detail that
                the ledger did not answer, and carries the id to ask for.
        """
        request, new = self._core.read_submission(account_id, provider, code, submission_id)
        try:
            submitted = self._door.run(self._core.submit(request, new, checkpoint_step))
        except LedgerError as error:
            raise _unavailable(error, new) from error
        if submitted.needs_wake:
            self._wake(new, account_id, provider)
        return submitted

    def _wake(self, submission_id: str, account_id: str, provider: str) -> None:
        try:
            send_wake(self._producer, submission_id, account_id, provider)
        except Exception as error:  # noqa: BLE001  whatever the broker's library raises
            # The ledger has it; the sweeper sends the wake.
            log.warning(
                "wake.failed submission_id=%s error=%s", submission_id, type(error).__name__
            )

    def result(self, submission_id: str) -> Outcome | None:
        """Return the record: ``None`` unknown, else queued, running or final."""
        return self._door.run(self._core.result(submission_id))

    def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """Wait for the outcome; return the non-final record when the time is up."""
        end = time.monotonic() + timeout_s
        record = self.result(submission_id)
        if record is None or record.is_final:
            return record
        name = self._core.store.keys.account_results(record.account_id)
        with self._ears.pubsub() as channel:
            while record is not None and not record.is_final:
                left_s = end - time.monotonic()
                if left_s <= 0:
                    return record
                try:
                    if not channel.subscribed:
                        channel.subscribe(name)
                    # The first message is the confirmation of the subscription.
                    channel.get_message(timeout=min(POLL_S, left_s))
                except (RedisError, OSError):
                    time.sleep(min(REHEAR_S, left_s))
                with suppress(LedgerError):  # A ledger away for a moment is not an answer.
                    record = self.result(submission_id)
        return record

    def outcomes(
        self, account_id: str | None = None, group: str | None = None, limit: int = 100
    ) -> Iterator[Outcome]:
        """Read final records from the stream.

        Without a group: the newest ``limit``, newest first. With one: what this group has
        not finished, at most ``limit`` and oldest first; a record counts as finished when the
        next is asked for. What a reader held when it crashed comes again, to itself at once
        and to another one after a minute (at least once).
        """
        self._core.check_limit(limit)
        store = self._core.store
        if group is None:
            yield from self._door.run(store.recent(account_id, limit))
            return
        for entry, record in self._door.run(self._core.unfinished(group, limit)):
            if account_id in (None, record.account_id):
                yield record
            with answered():
                self._redis.xack(store.keys.outcomes, group, entry)

    def cancel(self, submission_id: str) -> Outcome | None:
        """Take a submission back; return its record, which is final then or was before."""
        return self._door.run(self._core.cancel(submission_id))

    def intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """Return the intent as it stands, ``None`` if there is none."""
        return self._door.run(self._core.intent(account_id, provider))

    def kill_intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """End an intent: the submission in flight is answered 500, later ones too."""
        return self._door.run(self._core.kill_intent(account_id, provider))

    def take_session(
        self, account_id: str, provider: str, token: str | None = None
    ) -> dict[str, Any] | None:
        """Take the session of a cleared intent, once.

        The same token (by default this client's own) may take it again for 60 s, so that a
        lost reply is not a lost session.
        """
        return self._door.run(self._core.take_session(account_id, provider, token))


class _Ears:
    """One subscription for all who wait: with a connection each they would use the pool up.

    Lives only while somebody waits, so nothing is left behind by a client nobody closed. What
    it brings is a hint: where it fails, those who wait still look every `POLL_S`.

    The listener alone touches the connection. Were those who come and leave to subscribe for
    themselves, two would connect it anew at once after it was cut, and get at its inside.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._followed: set[str] = set()
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def hear(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set by every message of a channel, its confirmation too."""
        heard = asyncio.Event()
        self._waiting.setdefault(name, set()).add(heard)
        if name in self._followed:
            heard.set()  # There may be no confirmation to come: what was missed, was before now.
        self._changed.set()
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield heard
        finally:
            await self._leave(name, heard)

    async def _leave(self, name: str, heard: asyncio.Event) -> None:
        self._waiting[name].discard(heard)
        if not self._waiting[name]:
            del self._waiting[name]
            self._changed.set()
        listening = self._listening
        if listening is not None and not self._waiting:
            self._listening = None
            listening.cancel()
            await asyncio.wait([listening])

    async def _listen(self) -> None:
        # By name too: the library may swallow a cancellation while it connects anew.
        while self._listening is asyncio.current_task():
            with suppress(RedisError, OSError):
                async with self._client.pubsub() as channel:
                    await self._attend(channel)
            await asyncio.sleep(REHEAR_S)

    async def _attend(self, channel: redis.asyncio.client.PubSub) -> None:
        """Follow what is waited for and pass on what comes, over one connection."""
        followed: set[str] = set()
        while self._listening is asyncio.current_task():
            self._changed.clear()
            wanted = set(self._waiting)
            if new := wanted - followed:
                await channel.subscribe(*new)
            if old := followed - wanted:
                await channel.unsubscribe(*old)
            self._followed = followed = wanted
            message = await self._next(channel)
            for heard in self._waiting.get(message["channel"], ()) if message else ():
                heard.set()

    async def _next(self, channel: redis.asyncio.client.PubSub) -> dict[str, Any] | None:
        """Wait for a message, or for somebody who comes or leaves.

        Raises:
            RedisError: The connection was lost, and may be half connected again.
        """
        reading = asyncio.create_task(channel.get_message(timeout=LISTEN_S))
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({reading, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            reading.cancel()
            await asyncio.wait({reading, changed})
        if not reading.cancelled():
            message: dict[str, Any] | None = reading.result()
            return message
        connection: Any = channel.connection
        if connection is None or not connection.is_connected:
            raise RedisConnectionError
        return None


class AsyncCheckpointClient:
    """`CheckpointClient`, awaited. Every method is described there."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._core = _Core(self.settings)
        self._redis = connect_async(self.settings.redis_url.get_secret_value())
        self._ears = _Ears(self._redis)
        self._door = AsyncDoor(self._redis)
        self._producer = make_producer(self.settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await asyncio.to_thread(self._producer.close)

    async def open_intent(
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
        """See `CheckpointClient.open_intent`."""
        return await self._door.run(
            self._core.open_intent(
                account_id=account_id,
                provider=provider,
                checkpoint=checkpoint,
                context=context,
                proxy=proxy,
                purpose=purpose,
                user_id=user_id,
            )
        )

    async def submit(
        self,
        *,
        account_id: str,
        provider: str,
        code: str,
        submission_id: str | None = None,
        checkpoint_step: int | None = None,
    ) -> Submitted:
        """See `CheckpointClient.submit`."""
        request, new = self._core.read_submission(account_id, provider, code, submission_id)
        try:
            submitted = await self._door.run(self._core.submit(request, new, checkpoint_step))
        except LedgerError as error:
            raise _unavailable(error, new) from error
        if submitted.needs_wake:
            await self._wake(new, account_id, provider)
        return submitted

    async def _wake(self, submission_id: str, account_id: str, provider: str) -> None:
        try:
            await asyncio.to_thread(send_wake, self._producer, submission_id, account_id, provider)
        except Exception as error:  # noqa: BLE001  whatever the broker's library raises
            # The ledger has it; the sweeper sends the wake.
            log.warning(
                "wake.failed submission_id=%s error=%s", submission_id, type(error).__name__
            )

    async def result(self, submission_id: str) -> Outcome | None:
        """See `CheckpointClient.result`."""
        return await self._door.run(self._core.result(submission_id))

    async def wait(self, submission_id: str, timeout_s: float = 35.0) -> Outcome | None:
        """See `CheckpointClient.wait`."""
        end = time.monotonic() + timeout_s
        record = await self.result(submission_id)
        if record is None or record.is_final:
            return record
        name = self._core.store.keys.account_results(record.account_id)
        async with self._ears.hear(name) as heard:
            while record is not None and not record.is_final:
                left_s = end - time.monotonic()
                if left_s <= 0:
                    return record
                # Heard first is the confirmation of the subscription.
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(POLL_S, left_s)):
                        await heard.wait()
                heard.clear()
                with suppress(LedgerError):  # A ledger away for a moment is not an answer.
                    record = await self.result(submission_id)
        return record

    async def outcomes(
        self, account_id: str | None = None, group: str | None = None, limit: int = 100
    ) -> AsyncIterator[Outcome]:
        """See `CheckpointClient.outcomes`."""
        self._core.check_limit(limit)
        store = self._core.store
        if group is None:
            for record in await self._door.run(store.recent(account_id, limit)):
                yield record
            return
        for entry, record in await self._door.run(self._core.unfinished(group, limit)):
            if account_id in (None, record.account_id):
                yield record
            with answered():
                await self._redis.xack(store.keys.outcomes, group, entry)

    async def cancel(self, submission_id: str) -> Outcome | None:
        """See `CheckpointClient.cancel`."""
        return await self._door.run(self._core.cancel(submission_id))

    async def intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """See `CheckpointClient.intent`."""
        return await self._door.run(self._core.intent(account_id, provider))

    async def kill_intent(self, account_id: str, provider: str) -> IntentInfo | None:
        """See `CheckpointClient.kill_intent`."""
        return await self._door.run(self._core.kill_intent(account_id, provider))

    async def take_session(
        self, account_id: str, provider: str, token: str | None = None
    ) -> dict[str, Any] | None:
        """See `CheckpointClient.take_session`."""
        return await self._door.run(self._core.take_session(account_id, provider, token))
