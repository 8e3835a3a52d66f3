"""The people and their backends: what is submitted while everything around it breaks.

Each play is one login of one account and is drawn from the seed and its number alone. A backend
here does what the contract tells it to: after an error it asks by id, then submits again. Who
submitted what, and what became of it, is written into the book, which the verdict is made from.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import redis.asyncio
from redis.exceptions import RedisError

from checkpoint_worker.providers.sandbox import Sandbox
from checkpoint_worker.providers.sandbox.accounts import Account
from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.executor import LedgerError

T = TypeVar("T")

LOOK_S: Final = 0.2
"""Interval between two reads of the records in flight, seconds."""
TRIES_MAX: Final = 60
TRY_AGAIN_S: Final = 0.25
LATE_AFTER_S: Final = 5.0
"""Time after the deadline from which a submission without a final record is late, seconds."""
READERS_SHARE: Final = 0.2
"""Plays that wait as a backend does, who settles what is overdue; the others leave it to the
sweep, so that its promise is tested and not the readers'."""

PROVIDERS: Final = {"LINKEDIN": "EMAIL", "INSTAGRAM": "SMS", "TWITTER": "EMAIL", "MESSENGER": "SMS"}
"""And where their codes come from."""
TROUBLES: Final[tuple[dict[str, object], ...]] = (
    {"slow": 0.3},
    {"slow": 1.5},
    {"reset": True},
    {"status": 503},
    {"empty": True},
    {"wrong_answer": True},
)
TROUBLED_SHARE: Final = 0.25


class EndedError(Exception):
    """The play is over early: its Redis came back empty, or does not come back."""


@dataclass(slots=True, kw_only=True)
class Typed:
    """One submission as its backend knows it.

    Attributes:
        play: Number and kind of the play, to find it again by the seed.
        epoch: Number of the Redis that accepted it, if any.
        accepted_s: Instant at which the backend learnt of the acceptance, ``time.monotonic()``.
        emptied: Its Redis came back empty before its outcome was seen.
        final: The record as first seen final.
    """

    id: str
    code: str = field(repr=False)
    account: Account = field(repr=False)
    play: str
    epoch: int
    accepted_s: float | None = None
    emptied: bool = False
    final: Outcome | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


@dataclass(slots=True)
class Book:
    """Everything that was submitted.

    Attributes:
        epoch: Counts the Redis that came up empty.
        emptied_at: Instants at which each of them was ended, seconds since the epoch.
        waiting: Submissions without a final record, by id.
    """

    typed: dict[str, Typed] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    waiting: dict[str, Typed] = field(default_factory=dict)
    plays: Counter[str] = field(default_factory=Counter)
    epoch: int = 0
    emptied_at: list[float] = field(default_factory=list)

    def add(self, typed: Typed) -> None:
        """Enter a submission."""
        self.typed[typed.id] = self.waiting[typed.id] = typed

    def close(self, typed: Typed, final: Outcome | None) -> None:
        """Enter an outcome, or that there will be none to see."""
        typed.final = final
        self.waiting.pop(typed.id, None)
        typed.seen.set()

    def turn(self) -> None:
        """Note that Redis comes back empty: what is in flight was lost with the old one."""
        self.epoch += 1
        self.emptied_at.append(time.time())
        for typed in [*self.waiting.values()]:
            typed.emptied = True
            self.close(typed, None)


async def watch(book: Book, client: redis.asyncio.Redis, prefix: str) -> None:
    """Look at the records of what is in flight, past every executor, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        epoch, names = book.epoch, [*book.waiting]
        if not names:
            continue
        try:
            texts = await client.mget([f"{prefix}:result:{name}" for name in names])
        except (RedisError, OSError, TimeoutError):
            continue
        if book.epoch != epoch:
            continue
        for name, text in zip(names, texts, strict=True):
            typed = book.waiting.get(name)
            record = Outcome.model_validate_json(text) if text else None
            if typed is not None and record is not None and record.is_final:
                book.close(typed, record)


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until Redis answers.

    Raises:
        EndedError: It does not.
    """
    for _ in range(TRIES_MAX):
        try:
            return await ask()
        except (LedgerError, RedisError, OSError, TimeoutError):
            await asyncio.sleep(TRY_AGAIN_S)
        except CheckpointError as error:
            if error.status != 503:
                raise
            await asyncio.sleep(TRY_AGAIN_S)
    raise EndedError


class Person:
    """One play: a person, the backend, and an account."""

    def __init__(
        self, book: Book, client: AsyncCheckpointClient, sandbox: Sandbox, seed: int, number: int
    ) -> None:
        self.book, self.client, self.sandbox = book, client, sandbox
        self.rng = random.Random(f"{seed}/{number}")
        self.number, self.epoch = number, book.epoch
        provider = self.rng.choice([*PROVIDERS])
        self.account = sandbox.add_account(provider, source=PROVIDERS[provider])  # type: ignore[arg-type]
        book.accounts.append(self.account)
        self.kind, self._play = self.rng.choice([*PLAYS.items()])
        self.reads = self.rng.random() < READERS_SHARE
        if self.rng.random() < TROUBLED_SHARE:
            sandbox.set_faults(self.account, **self.rng.choice(TROUBLES))
        self._submitted = 0

    async def play(self) -> None:
        """Play to the end, or to the end of this Redis."""
        self.book.plays[self.kind] += 1
        with contextlib.suppress(EndedError):
            await self.open()
            await self._play(self)

    def _go_on(self) -> None:
        if self.book.epoch != self.epoch:
            raise EndedError

    async def open(self) -> None:
        """Begin a login and open its intent."""
        login = self.sandbox.begin_login(self.account)
        await insist(
            lambda: self.client.open_intent(
                account_id=self.account.id,
                provider=self.account.provider,
                checkpoint=login.checkpoint,
                context=login.context,
                user_id=login.user_id,
            )
        )
        self._go_on()

    def right(self) -> str:
        """Return the code the person would type now.

        Raises:
            EndedError: It was used up already.
        """
        try:
            return self.account.current_code()
        except LookupError:
            raise EndedError from None

    def new(self, code: str) -> Typed:
        """Enter a submission into the book."""
        self._submitted += 1
        typed = Typed(
            id=f"sub_{self.number}_{self._submitted}",
            code=code,
            account=self.account,
            play=f"{self.number} {self.kind}",
            epoch=self.epoch,
        )
        self.book.add(typed)
        return typed

    async def submit(self, typed: Typed) -> Typed:
        """Submit, as a backend should: after an error it asks, then submits the same again."""
        for _ in range(TRIES_MAX):
            self._go_on()
            try:
                await self.client.submit(
                    account_id=self.account.id,
                    provider=self.account.provider,
                    code=typed.code,
                    submission_id=typed.id,
                )
            except CheckpointError as error:
                if error.status != 503:
                    raise
                if await insist(lambda: self.client.result(typed.id)) is None:
                    await asyncio.sleep(TRY_AGAIN_S)
                    continue
            typed.accepted_s = time.monotonic()
            return typed
        raise EndedError

    async def outcome(self, typed: Typed) -> Outcome:
        """Wait for an outcome, as a reader or without touching anything."""
        while self.reads and not typed.seen.is_set():
            await insist(lambda: self.client.wait(typed.id, 5.0))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(typed.seen.wait(), LOOK_S)
        await typed.seen.wait()
        if typed.final is None:
            raise EndedError
        return typed.final

    async def pause(self) -> None:
        """Let a little time pass, mostly less than an exchange takes."""
        await asyncio.sleep(self.rng.choice((0.0, 0.01, 0.05, 0.3)) * self.rng.random())

    # Plays

    async def right_code(self) -> None:
        """The right code."""
        await self.outcome(await self.submit(self.new(self.right())))

    async def wrong_then_right(self) -> None:
        """A wrong code, its outcome, the right one."""
        record = await self.outcome(await self.submit(self.new(self.account.wrong_code())))
        if record.intent is not None and record.intent.state == "open":
            await self.outcome(await self.submit(self.new(self.right())))

    async def supersede(self) -> None:
        """Up to three codes, each before the outcome of the one before; the last is right."""
        for _ in range(self.rng.randint(1, 2)):
            await self.submit(self.new(self.account.wrong_code()))
            await self.pause()
        await self.outcome(await self.submit(self.new(self.right())))

    async def double_click(self) -> None:
        """The same code twice at once, as two submissions."""
        code = self.right()
        first, second = self.new(code), self.new(code)
        await asyncio.gather(self.submit(first), self._after_pause(second))
        await self.outcome(second)

    async def _after_pause(self, typed: Typed) -> Typed:
        await self.pause()
        return await self.submit(typed)

    async def twice_the_same_id(self) -> None:
        """The same submission twice at once, as of a backend whose first request timed out."""
        typed = self.new(self.right())
        await asyncio.gather(self.submit(typed), self._after_pause(typed))
        await self.outcome(typed)

    async def cancel(self) -> None:
        """The right code, taken back."""
        typed = await self.submit(self.new(self.right()))
        await self.pause()
        await insist(lambda: self.client.cancel(typed.id))
        await self.outcome(typed)

    async def kill(self) -> None:
        """The right code, and an operator who ends the login."""
        typed = await self.submit(self.new(self.right()))
        await self.pause()
        await insist(lambda: self.client.kill_intent(self.account.id, self.account.provider))
        await self.outcome(typed)

    async def reopen(self) -> None:
        """The login begun anew during an exchange."""
        await self.submit(self.new(self.account.wrong_code()))
        await self.pause()
        await self.open()
        await self.outcome(await self.submit(self.new(self.right())))


PLAYS: Final[dict[str, Callable[[Person], Awaitable[Any]]]] = {
    "right": Person.right_code,
    "wrong then right": Person.wrong_then_right,
    "supersede": Person.supersede,
    "double click": Person.double_click,
    "same id": Person.twice_the_same_id,
    "cancel": Person.cancel,
    "kill": Person.kill,
    "reopen": Person.reopen,
}
