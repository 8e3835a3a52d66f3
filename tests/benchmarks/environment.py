"""Where everything is measured: a Redis of its own, the provider, and the product's workers.

The product runs with every promise on. Raised are only the bounds that a backlog would meet
before it is worked off: deadline, life of an intent, and what refuses a flood.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from celery import Celery

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import make_key
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.local.stack import settings_of
from tests.support.plugins import installed
from tests.support.processes import START_S, StuckError, line_of, running, until

PROVIDER: Final = "BENCH"
PATIENT: Final = {
    "PROVIDERS": PROVIDER,
    "DEADLINE_S": "1200",
    "INTENT_TTL_S": "3600",
    "PROVIDER_TIMEOUT_S": "110",
    "QUEUE_AGE_MAX_S": "1200",
    "QUEUE_MAX": "10000000",
    "OUTCOMES_MAX": "10000000",
    "SUBMISSIONS_MAX": "10000000",
    "HOURLY_MAX": "10000000",
    "HOURLY_OPENS_MAX": "10000000",
    "HOURLY_REFUSED_MAX": "10000000",
    # A backlog that is held back for the start would otherwise be woken a second time.
    "WAKE_AGAIN_S": "1000",
    "ALLOW_PRIVATE_PROXIES": "true",
    "LOG_LEVEL": "WARNING",
}
WORKER: Final = ("-m", "celery", "-A", "worker", "worker", "--without-gossip", "--without-mingle")
SLOTS: Final = 32
"""Requests of our client at once."""
COUNTED: Final = ("total_commands_processed", "total_net_input_bytes", "total_net_output_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Work of a Redis so far: CPU seconds, commands (those in scripts too), bytes."""

    cpu_s: float
    commands: int
    bytes: int

    def since(self, before: Load) -> Load:
        """Return what was done since an earlier look."""
        return Load(
            cpu_s=self.cpu_s - before.cpu_s,
            commands=self.commands - before.commands,
            bytes=self.bytes - before.bytes,
        )


class Environment:
    """One Redis and one provider for as long as a measurement; see `started_environment`."""

    def __init__(self, folder: Path, url: str, ports: dict[str, int]) -> None:
        self.folder = folder
        self.url = url
        self.ports = ports
        self.raw: redis.Redis = redis.Redis.from_url(url, decode_responses=True)
        self.env = {f"CHECKPOINT_{name}": value for name, value in PATIENT.items()}
        self.env |= {"CHECKPOINT_REDIS_URL": url, "CHECKPOINT_SECRET_KEYS": make_key()}
        self.producer = Celery("bench", broker=url, set_as_current=False)
        """Sends the jobs of plain Celery."""
        self._logs = 0

    def close(self) -> None:
        """Close our connections."""
        self.producer.close()
        self.raw.close()

    @property
    def settings(self) -> Settings:
        """Of our client."""
        return settings_of(self.env)

    @property
    def gate(self) -> str:
        """A proxy that never answers."""
        return f"socks5://127.0.0.1:{self.ports['gate']}"

    def provider(self, delay_ms: int) -> str:
        """Return the address of the provider that answers after so long."""
        return f"http://127.0.0.1:{self.ports[str(delay_ms)]}"

    def facts(self) -> dict[str, Any]:
        """Return what the provider has seen."""
        with urllib.request.urlopen(f"{self.provider(0)}/facts", timeout=START_S) as reply:  # noqa: S310
            found: dict[str, Any] = json.load(reply)
        return found

    def log(self, name: str) -> Path:
        """Return a new name for a log."""
        self._logs += 1
        return self.folder / f"{name}-{self._logs}.log"

    def load(self) -> Load:
        """Return what Redis has done so far."""
        info: Any = self.raw.info()
        commands, received, sent = (int(info[name]) for name in COUNTED)
        cpu_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return Load(cpu_s=cpu_s, commands=commands, bytes=received + sent)

    @contextlib.contextmanager
    def workers(
        self, delay_ms: int, count: int = 1, **env: object
    ) -> Iterator[Sequence[subprocess.Popen[str]]]:
        """Run workers of the product; the block begins once all have beaten.

        Args:
            delay_ms: Which provider.
            count: How many processes.
            env: Settings other than the environment's, in capitals and without their prefix; a name
                that begins with ``BENCH_`` is taken as it is.
        """
        own = {
            (name if name.startswith("BENCH_") else f"CHECKPOINT_{name}"): str(value)
            for name, value in env.items()
        }
        variables = {**self.env, "CHECKPOINT_BENCH_URL": self.provider(delay_ms), **own}
        with contextlib.ExitStack() as stack:
            self.raw.delete("checkpoint:beats")
            found = [
                stack.enter_context(
                    running(self.log("worker"), *WORKER, "-n", f"{n}@bench", env=variables)
                )
                for n in range(count)
            ]
            until(lambda: self.raw.zcard("checkpoint:beats") >= count, START_S, "a heartbeat")
            yield found

    async def open(self, client: AsyncCheckpointClient, account: str, **more: Any) -> None:
        """Open an intent."""
        await client.open_intent(
            account_id=account,
            provider=PROVIDER,
            checkpoint={"type": "OTP", "source": "SMS"},
            context={},
            **more,
        )

    async def submit(self, client: AsyncCheckpointClient, account: str) -> str:
        """Submit a code; return the submission's id."""
        submitted = await client.submit(account_id=account, provider=PROVIDER, code="123456")
        return submitted.id

    def opened(self, accounts: Sequence[str], **more: Any) -> None:
        """Open many intents."""
        asyncio.run(self._each(accounts, "open", more))

    def submitted(self, accounts: Sequence[str]) -> None:
        """Submit a code for each of many."""
        asyncio.run(self._each(accounts, "submit", {}))

    async def _each(self, accounts: Sequence[str], what: str, more: dict[str, Any]) -> None:
        left = iter(accounts)
        async with AsyncCheckpointClient(self.settings) as client:

            async def one_after_the_other() -> None:
                for account in left:
                    await getattr(self, what)(client, account, **more)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(SLOTS, len(accounts))):
                    group.create_task(one_after_the_other())

    def done(self) -> int:
        """Return how many outcomes there are."""
        return int(self.raw.xlen("checkpoint:outcomes"))

    def everything(self) -> list[dict[str, Any]]:
        """Return every outcome, as it stands in the stream."""
        found: Any = self.raw.xrange("checkpoint:outcomes")
        return [json.loads(text) for _, fields in found for text in fields.values()]

    def check(self) -> None:
        """Check that every outcome is 201, as the measurement expects.

        Raises:
            StuckError: An outcome differs.
        """
        wrong = sorted({str(record["status"]) for record in self.everything()} - {"201"})
        if wrong:
            msg = f"the measurement is invalid: there are outcomes {', '.join(wrong)}"
            raise StuckError(msg)


@contextlib.contextmanager
def started_environment() -> Iterator[Environment]:
    """Start Redis, a stub provider and the environment of a measurement; end them afterwards."""
    entry = "[checkpoint.providers]\nBENCH = tests.benchmarks.adapter:Bench\n"
    with (
        tempfile.TemporaryDirectory() as name,
        installed(Path(name), "checkpoint_bench", "", entry),
        EmbeddedRedis() as server,
        running(Path(name) / "provider.log", "-m", "tests.support.stub_provider") as provider,
    ):
        environment = Environment(Path(name), server.url, json.loads(line_of(provider.stdout)))
        try:
            yield environment
        finally:
            environment.close()
