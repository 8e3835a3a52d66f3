"""The smallest adapter there can be, for measuring everything around it."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import deque
from pathlib import Path
from types import MappingProxyType
from typing import Final

from checkpoint_worker.providers import contract

LAG_FILE: Final = os.environ.get("BENCH_LAG_FILE")
"""File for the lateness of the worker's loop; ``None``: it is not measured."""
REFUSES: Final = os.environ.get("BENCH_REFUSES")
"""Set if every answer is taken for a refusal of the code."""
LAG_EVERY_S: Final = 0.01
LAGS_MAX: Final = 20_000


class Bench:
    """One POST with the code; any 200 clears. See `contract.Adapter`."""

    provider = "BENCH"
    default_url = ""
    contexts = MappingProxyType({"http": contract.Context})
    code_formats: MappingProxyType[str, contract.CodeFormat] = MappingProxyType({})
    prepares = False
    knows_another_way = False

    _lag: asyncio.Task[None] | None = None

    async def verify(
        self, challenge: contract.Challenge, exchange: contract.Exchange
    ) -> contract.Verdict:
        """Send the code and take the number that comes back for the user."""
        if LAG_FILE is not None and Bench._lag is None:
            Bench._lag = asyncio.create_task(watch_lag(Path(LAG_FILE)))
        reply = await exchange.send_code(
            contract.CodeRequest(
                method="POST",
                url=f"{challenge.base_url}/verify",
                headers={"Content-Type": "application/json"},
                body=lambda code: json.dumps({"code": code}).encode(),
            )
        )
        if REFUSES is not None:
            return contract.Rejected()
        return contract.Cleared(user_id=reply.text, session={"cookie": "made-up"})


async def watch_lag(path: Path) -> None:
    """Write how late the loop wakes a sleeper: ``{"p50_ms", "p99_ms", "max_ms"}``."""
    lags_ms: deque[float] = deque(maxlen=LAGS_MAX)
    while True:
        for _ in range(100):
            began_s = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            lags_ms.append((time.monotonic() - began_s - LAG_EVERY_S) * 1000)
        cuts = statistics.quantiles(lags_ms, n=100, method="inclusive")
        found = {"p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(lags_ms)}
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(found))
        beside.replace(path)
