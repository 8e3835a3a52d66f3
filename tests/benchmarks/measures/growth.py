"""What a submission costs while more and more intents are stored, and what one of them weighs.

Stored intents are copies of one real intent: its keys as Redis dumps them, under other names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import redis

from tests.benchmarks.baselines import DELAY_MS, Product
from tests.benchmarks.environment import PROVIDER, Environment, started_environment
from tests.benchmarks.figures import Measure, Options, Rows, add
from tests.benchmarks.measures.throughput import work_off

STORED: Final = (1_000, 10_000, 100_000)
STORED_QUICK: Final = (1_000, 10_000)
STORED_FULL: Final = (*STORED, 1_000_000)
MODEL: Final = "acc_model"
BATCH: Final = 2_000
TTL_MS: Final = 3_600_000
FIGURES: Final = ("cpu_us", "client_cpu_us", "redis_cpu_us", "redis_commands")


def seed(environment: Environment, count: int) -> float:
    """Store so many intents; return the bytes of one."""
    # Not environment.raw: a dump is bytes.
    with redis.Redis.from_url(environment.url) as raw:
        names = sorted(raw.scan_iter(match=f"*:{PROVIDER}:{MODEL}"))
        due: Any = raw.zscore("checkpoint:due", f"{PROVIDER}:{MODEL}")
        dumps: list[Any] = [raw.dump(name) for name in names]
        before = _used(raw)
        for start in range(0, count, BATCH):
            pipe = raw.pipeline(transaction=False)
            for number in range(start, min(start + BATCH, count)):
                account = f"acc_stored_{number}"
                for name, value in zip(names, dumps, strict=True):
                    pipe.restore(name.replace(MODEL.encode(), account.encode()), TTL_MS, value)
                if due is not None:
                    pipe.zadd("checkpoint:due", {f"{PROVIDER}:{account}": due})
            pipe.execute()
        return (_used(raw) - before) / count


def _used(raw: redis.Redis) -> int:
    info: Any = raw.info("memory")
    return int(info["used_memory"])


def run(options: Options, told: Callable[[str], None]) -> Rows:
    """Measure a Redis for each number, in turns: a machine that slows down is not growth."""
    rows: Rows = {}
    steps = STORED_QUICK if options.quick else STORED_FULL if options.full else STORED
    jobs = max(100, options.jobs // 2)
    with contextlib.ExitStack() as stack:
        stands: dict[int, tuple[Environment, float]] = {}
        for count in steps:
            told(f"storing {count}")
            environment = stack.enter_context(started_environment())
            environment.opened([MODEL])
            stands[count] = environment, seed(environment, count)
        for number in range(options.rounds):
            for count, (environment, intent_bytes) in stands.items():
                told(f"round {number + 1}, {count} stored")
                environment.raw.delete("checkpoint:outcomes")
                figures = work_off(Product(environment), environment, jobs)
                kept = {name: figures[name] for name in FIGURES}
                add(rows, f"{count:,} stored", kept | {"intent_bytes": intent_bytes})
    return rows


MEASURE: Final = Measure(
    name="growth",
    title=f"Stored intents, provider answers after {DELAY_MS} ms",
    run=run,
    against=f"{STORED[0]:,} stored",
)
