"""The kinds of submissions: the actions of a backend and the outcomes that must follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

DEAD_PROXY: Final = "http://127.0.0.1:1"
"""A proxy address at which no program listens."""
DEAD_NAME: Final = "http://dead.invalid:8080"


class Front(Protocol):
    """One way of a backend to the product."""

    async def open(self, account: str, proxy: str | None = None) -> None:
        """Open an intent."""

    async def submit(self, account: str, code: str) -> str:
        """Submit a code and do not wait; return its id."""

    async def answer(self, account: str, code: str) -> int:
        """Submit a code and wait for the status of its outcome."""

    async def outcome(self, submission_id: str) -> int:
        """Wait for the status of an outcome."""

    async def cancel(self, submission_id: str) -> None:
        """Cancel a submission."""


Play = Callable[[Front, str], Awaitable[list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Attributes:
        name: Name for ``--only``.
        about: Description in reports.
        play: What a backend does; returns the status of each of its submissions. ``None`` for
            what is no submission: messages that another program puts into the queue.
        statuses: Statuses that must result.
    """

    name: str
    about: str
    statuses: tuple[int, ...] = ()
    play: Play | None = None


def by_code(code: str, proxy: str | None = None) -> Play:
    """Return what opens, submits a code, and waits."""

    async def play(front: Front, account: str) -> list[int]:
        await front.open(account, proxy)
        return [await front.answer(account, code)]

    return play


async def superseded(front: Front, account: str) -> list[int]:
    """Submit a second code while the first is on its way."""
    await front.open(account)
    older = await front.submit(account, "999001")
    newer = await front.answer(account, "999002")
    return [await front.outcome(older), newer]


async def canceled(front: Front, account: str) -> list[int]:
    """Take a code back that is on its way."""
    await front.open(account)
    taken_back = await front.submit(account, "999001")
    await front.cancel(taken_back)
    return [await front.outcome(taken_back)]


async def unopened(front: Front, account: str) -> list[int]:
    """Submit a code for an account without an intent."""
    return [await front.answer(f"{account}_unopened", "200000")]


KINDS: Final = (
    Kind(name="success", about="the right code", statuses=(201,), play=by_code("200000")),
    Kind(name="refused", about="a wrong code", statuses=(401,), play=by_code("401000")),
    Kind(name="broken", about="the provider answers 500", statuses=(500,), play=by_code("500000")),
    Kind(name="away", about="the provider answers 503", statuses=(503,), play=by_code("503000")),
    Kind(name="reset", about="the provider hangs up", statuses=(408,), play=by_code("000000")),
    Kind(
        name="proxy",
        about="the intent's proxy refuses",
        statuses=(502,),
        play=by_code("200000", DEAD_PROXY),
    ),
    Kind(
        name="name",
        about="the name of the intent's proxy leads nowhere",
        statuses=(502,),
        play=by_code("200000", DEAD_NAME),
    ),
    Kind(
        name="unfit",
        about="the adapter returns what cannot be stored",
        statuses=(500,),
        play=by_code("418000"),
    ),
    Kind(
        name="superseded",
        about="a newer code while the first is sent",
        statuses=(409, 201),
        play=superseded,
    ),
    Kind(name="canceled", about="taken back while it is sent", statuses=(409,), play=canceled),
    Kind(name="unopened", about="no intent was opened", statuses=(403,), play=unopened),
    Kind(name="junk", about="wakes of submissions that nobody knows, or that have ended"),
    Kind(name="poison", about="messages that are no task"),
)
BY_NAME: Final = {kind.name: kind for kind in KINDS}
