"""A backend in its own process that plays the kinds requested on stdin, one line of JSON at a time.

    python -m tests.soak.client awaited|blocking|ADDRESS-OF-A-GATEWAY

Input: ``{"kinds": [...], "first": N, "count": N}``. Output: ``{}`` at the start, then for each
line the number of outcomes of each kind: ``{"success": {"201": 33}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp

from checkpoint_worker.tasks.client import AsyncCheckpointClient, CheckpointClient
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome
from tests.soak.adapter import PROVIDER
from tests.soak.kinds import BY_NAME, Front

SLOTS: Final = 16
"""Maximum number of concurrent submissions of one backend."""
ACCOUNTS: Final = 64
"""Of one backend: what is kept for each account must not grow with what is submitted."""
WAIT_S: Final = 60.0
BAD: Final = 300
"""A status from here on is no success."""
CHECKPOINT: Final = {"type": "OTP", "source": "SMS"}


def intent(account: str, proxy: str | None) -> dict[str, Any]:
    """Return what opens an account's intent."""
    return {
        "account_id": account,
        "provider": PROVIDER,
        "checkpoint": CHECKPOINT,
        "context": {"app": {"user": account}},
        "proxy": proxy,
    }


def status_of(record: Outcome | None) -> int:
    """Return an outcome's status, 0 where there is none."""
    return record.status or 0 if record is not None else 0


class Awaited:
    """A backend on asyncio."""

    def __init__(self, client: AsyncCheckpointClient) -> None:
        self._client = client

    async def open(self, account: str, proxy: str | None = None) -> None:
        """See `Front`."""
        await self._client.open_intent(**intent(account, proxy))

    async def submit(self, account: str, code: str) -> str:
        """See `Front`."""
        submitted = await self._client.submit(account_id=account, provider=PROVIDER, code=code)
        return submitted.id

    async def answer(self, account: str, code: str) -> int:
        """See `Front`."""
        return await self.outcome(await self.submit(account, code))

    async def outcome(self, submission_id: str) -> int:
        """See `Front`."""
        return status_of(await self._client.wait(submission_id, WAIT_S))

    async def cancel(self, submission_id: str) -> None:
        """See `Front`."""
        await self._client.cancel(submission_id)


class Blocking:
    """A backend on threads."""

    def __init__(self, client: CheckpointClient) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(SLOTS)

    async def _do(self, what: str, *args: Any, **options: Any) -> Any:
        loop = asyncio.get_running_loop()
        call = getattr(self._client, what)
        return await loop.run_in_executor(self._threads, lambda: call(*args, **options))

    async def open(self, account: str, proxy: str | None = None) -> None:
        """See `Front`."""
        await self._do("open_intent", **intent(account, proxy))

    async def submit(self, account: str, code: str) -> str:
        """See `Front`."""
        submitted = await self._do("submit", account_id=account, provider=PROVIDER, code=code)
        return str(submitted.id)

    async def answer(self, account: str, code: str) -> int:
        """See `Front`."""
        return await self.outcome(await self.submit(account, code))

    async def outcome(self, submission_id: str) -> int:
        """See `Front`."""
        return status_of(await self._do("wait", submission_id, WAIT_S))

    async def cancel(self, submission_id: str) -> None:
        """See `Front`."""
        await self._do("cancel", submission_id)


class Http:
    """A backend that knows the gateway alone."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def _post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
        async with self._session.post(path, json=body, headers=headers) as reply:
            return reply.status, await reply.json()

    async def _submit(self, account: str, code: str, **headers: str) -> tuple[int, Any]:
        body = {"account_id": account, "provider": PROVIDER, "code": code}
        return await self._post("/v1/accounts/checkpoint", body, **headers)

    async def open(self, account: str, proxy: str | None = None) -> None:
        """See `Front`."""
        status, found = await self._post("/v1/intents", intent(account, proxy))
        assert status < BAD, found

    async def submit(self, account: str, code: str) -> str:
        """See `Front`."""
        _, found = await self._submit(account, code, Prefer="respond-async")
        return str(found["submission_id"])

    async def answer(self, account: str, code: str) -> int:
        """See `Front`."""
        return (await self._submit(account, code))[0]

    async def outcome(self, submission_id: str) -> int:
        """See `Front`."""
        async with self._session.get(f"/v1/submissions/{submission_id}/events") as reply:
            async for line in reply.content:
                if line.startswith(b"data:"):
                    found = json.loads(line[5:])
                    if found["state"] == "final":
                        return int(found["status"])
        return 0

    async def cancel(self, submission_id: str) -> None:
        """See `Front`."""
        async with self._session.delete(f"/v1/submissions/{submission_id}") as reply:
            await reply.read()


@contextlib.asynccontextmanager
async def front_of(how: str) -> AsyncIterator[Front]:
    """Make the way that is asked for."""
    match how:
        case "awaited":
            async with AsyncCheckpointClient() as awaited:
                yield Awaited(awaited)
        case "blocking":
            with contextlib.closing(CheckpointClient()) as blocking:
                yield Blocking(blocking)
        case address:
            headers = {"X-API-KEY": os.environ["SOAK_API_KEY"]}
            async with aiohttp.ClientSession(address, headers=headers) as session:
                yield Http(session)


async def play(front: Front, name: str, kinds: list[str], first: int, count: int) -> Any:
    """Play so many, the kinds in turn; return how often each status came, by kind."""
    left = iter(range(first, first + count))
    found: dict[str, Counter[str]] = defaultdict(Counter)

    async def one_after_the_other(slot: int) -> None:
        for number in left:
            kind = BY_NAME[kinds[number % len(kinds)]]
            assert kind.play is not None
            # Each slot has its own accounts: two at once would supersede each other.
            account = f"acc_{name}_{slot}_{number % (ACCOUNTS // SLOTS)}"
            try:
                statuses = await kind.play(front, account)
            except CheckpointError as error:
                statuses = [error.status]
            found[kind.name].update(map(str, statuses))

    async with asyncio.TaskGroup() as group:
        for slot in range(SLOTS):
            group.create_task(one_after_the_other(slot))
    return found


async def main() -> None:
    """Play until stdin closes."""
    how = sys.argv[1]
    name = how if how.isalpha() else "http"
    async with front_of(how) as front:
        print("{}", flush=True)  # noqa: T201
        while line := await asyncio.to_thread(sys.stdin.readline):
            found = await play(front, name, **json.loads(line))
            print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
