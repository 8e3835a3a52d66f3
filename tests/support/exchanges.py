"""Helpers for tests of exchanges, shared with `test_transport`."""

from __future__ import annotations

import asyncio
import functools
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from checkpoint_worker.providers.http.exchange import ClaimTicket, HttpExchange

CODE = "CANARY-842913"


CONNECT_TIMEOUT_S = 8.0


AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def in_loop(test: AsyncTest) -> Callable[..., None]:
    """Run a test in a plain asyncio loop and in the worker's; what is left open is a warning."""

    @functools.wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        for loop_factory in (asyncio.new_event_loop, uvloop.new_event_loop):
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(test(*args, **kwargs))
            gc.collect()

    return run


def granting(code: str = CODE, for_s: float = 60.0) -> Callable[[], Awaitable[ClaimTicket]]:
    """Return a claim that is granted."""

    async def claim() -> ClaimTicket:
        return ClaimTicket(code=code, send_before=time.monotonic() + for_s)

    return claim


def exchange(**changes: Any) -> HttpExchange:
    """Make an exchange that may use the loopback."""
    options: dict[str, Any] = {
        "claim": granting(),
        "connect_timeout_s": CONNECT_TIMEOUT_S,
        "allow_private_proxies": True,
    }
    return HttpExchange(**{**options, **changes})
