"""Whether this worker's Redis takes what a worker does, asked with nothing done.

A heartbeat alone does not say it: a user that lacks one command of a commit beats, looks ready, and
every code of its is answered late.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from checkpoint_worker.tasks.addresses import parse_redis
from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.operations.wake import in_ledger
from checkpoint_worker.worker.observability.required_commands import broker_forms, forms
from checkpoint_worker.worker.observability.status import refusal

OK: Final = "ok"
AGAIN_S: Final = 30.0
"""Between two questions, of some sixty commands that are not run."""
SOON_S: Final = 2.0
"""The same, after an answer that was not good."""

log = structlog.get_logger("checkpoint.worker")


class Access:
    """Asks now and then.

    Attributes:
        said: ``ok``, or what the user may not do, or why Redis refuses what is written.
    """

    def __init__(self, attempts: AttemptRunner) -> None:
        self._client, self.said = attempts.door.client, "not asked yet"
        settings, keys = attempts.settings, attempts.store.keys
        self._clustered = bool(parse_redis(settings.redis_url.get_secret_value()).cluster)
        self._forms = forms(keys, "worker", clustered=self._clustered)
        if in_ledger(settings):
            db = int(self._client.connection_pool.connection_kwargs.get("db") or 0)
            self._forms += broker_forms(keys, "worker", db)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            with suppress(RedisError, OSError):  # The heartbeat says why.
                await self.ask()
            await asyncio.sleep(AGAIN_S if self.said == OK else SOON_S)

    async def ask(self) -> None:
        """Ask once: inside MULTI a command is judged when it is queued; DISCARD forgets them."""
        pool: Any = self._client.connection_pool
        connection = await pool.get_connection()
        refused: list[str] = []
        try:
            for form in (("MULTI",), *self._forms, ("DISCARD",)):
                try:
                    await connection.send_command(*form)
                    await connection.read_response()
                except NoPermissionError:
                    refused.append(str(form[0]))
                except ResponseError:
                    continue  # For another reason, which the heartbeat tells.
        finally:
            await connection.disconnect()
            await pool.release(connection)
        said = ""
        if "INFO" not in refused:
            said = refusal(await self._client.info(), clustered=self._clustered)
        if refused:
            names = ", ".join(dict.fromkeys(refused))
            said = f"this Redis user may not do what a worker does: {names} (its ACL)"
        before, self.said = self.said, said or OK
        if said and before != said:
            log.critical("ledger.not_usable", why=said)


__all__ = ["OK", "Access"]
