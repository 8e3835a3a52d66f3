"""Checks whether Redis permits each command that a worker runs, without running any.

A heartbeat does not show this: a worker whose user lacks one command of a commit still sends
heartbeats and looks ready, but settles each code late.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from checkpoint_worker.tasks.execution.attempt import AttemptRunner
from checkpoint_worker.tasks.operations.wake import in_ledger
from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.worker.observability.pages import OK
from checkpoint_worker.worker.observability.required_commands import broker_forms, forms
from checkpoint_worker.worker.observability.status import refusal

AGAIN_S: Final = 30.0
"""Interval between two checks of some sixty commands, none of which is executed."""
SOON_S: Final = 2.0
"""Interval after a check that failed."""

log = structlog.get_logger("checkpoint.worker")


class Access:
    """Checks the permissions periodically.

    Attributes:
        said: ``ok``, or the commands that the user may not run, or why Redis refuses writes.
    """

    def __init__(self, attempts: AttemptRunner) -> None:
        self._client, self.said = attempts.executor.client, "not asked yet"
        settings, keys = attempts.settings, attempts.store.keys
        self._clustered = bool(parse_redis(settings.redis_url.get_secret_value()).cluster)
        self._forms = forms(keys, "worker", clustered=self._clustered)
        if in_ledger(settings):
            db = int(self._client.connection_pool.connection_kwargs.get("db") or 0)
            self._forms += broker_forms(keys, "worker", db)

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            with suppress(RedisError, OSError):  # The heartbeat reports these.
                await self.ask()
            await asyncio.sleep(AGAIN_S if self.said == OK else SOON_S)

    async def ask(self) -> None:
        """Queue each command inside MULTI, where Redis checks its permission, then DISCARD them."""
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
                    continue  # Another error, which the heartbeat reports.
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
