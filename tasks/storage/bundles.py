"""Reads asked for in one turn of the event loop, which one run of ``read.lua`` answers.

A worker that works off a backlog looks at many intents in one turn. Each run of the script costs
Redis the clock, its own identity and the call, about as much as three reads of a key (measured); a
bundle costs them once. All values of a bundle are of one instant, like those of a single read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple

READS_AT_ONCE: Final = 32
"""Maximum number of reads in a bundle; it takes Redis well under a millisecond."""

Words = tuple[str | int, ...]
RunRead = Callable[[tuple[str, ...], Words], Awaitable[list[Any]]]
"""Callable that runs the script once with keys and arguments."""


class _Read(NamedTuple):
    keys: tuple[str, ...]
    reply: asyncio.Future[list[Any]]


class ReadBundles:
    """Collects reads with the same arguments until the next turn of the loop.

    An error of a bundle is that of all its reads: their callers repeat each read alone, so a key
    that cannot be read fails only its own.
    """

    def __init__(self, run: RunRead) -> None:
        self._run = run
        self._waiting: dict[tuple[asyncio.AbstractEventLoop, Words], list[_Read]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def read(self, keys: tuple[str, ...], args: Words) -> asyncio.Future[list[Any]]:
        """Return the future of the script's reply for these keys.

        The arguments must ask for no count, because a bundle would count once for all its reads.
        """
        loop = asyncio.get_running_loop()
        read, name = _Read(keys, loop.create_future()), (loop, args)
        if (bundle := self._waiting.get(name)) is None:
            bundle = self._waiting[name] = []
            loop.call_soon(self._send, name, bundle)
        bundle.append(read)
        if len(bundle) == READS_AT_ONCE:
            del self._waiting[name]
        return read.reply

    def _send(self, name: tuple[asyncio.AbstractEventLoop, Words], bundle: list[_Read]) -> None:
        if self._waiting.get(name) is bundle:
            del self._waiting[name]
        task = name[0].create_task(self._answer(bundle, name[1]))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, bundle))

    def _end(self, bundle: list[_Read], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        for _, reply in bundle:
            reply.cancel()  # Has an effect only if the loop ended the task.

    async def _answer(self, bundle: list[_Read], args: Words) -> None:
        keys = tuple(key for read in bundle for key in read.keys)
        try:
            *head, values = await self._run(keys, args)
        except Exception as error:  # noqa: BLE001  the callers handle it
            for _, reply in bundle:
                if not reply.done():
                    reply.set_exception(error)
            return
        # A trailing nil may be cut off by the protocol of a simulated Redis.
        values += [None] * (len(keys) - len(values))
        at = 0
        for wanted, reply in bundle:
            if not reply.done():  # The caller may have been cancelled.
                reply.set_result([*head, values[at : at + len(wanted)]])
            at += len(wanted)
