"""Data types of the doctor: a finding, and the deployment that is checked."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from redis.exceptions import ResponseError

from checkpoint_worker.tasks.client import make_store
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.address_parser import parse_redis
from checkpoint_worker.tasks.storage.executor import SyncExecutor, connect
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.store import Store
from checkpoint_worker.tasks.storage.views import StatusSnapshot

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", ""})


class Result(enum.StrEnum):
    """The result of a check. Only ``MEND`` makes the exit status 1."""

    OK = "ok"
    WARNING = "warning"
    MEND = "mend"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The finding of a check.

    Attributes:
        result: The kind of finding.
        reason: The observation and its meaning. Contains no secret.
        remedy: How to mend it; empty if no action is needed.
    """

    result: Result
    reason: str
    remedy: str = ""


def ok(reason: str) -> Finding:
    """Return a finding without fault."""
    return Finding(result=Result.OK, reason=reason)


def warning(reason: str, remedy: str) -> Finding:
    """Return a finding that does no harm now, but may later."""
    return Finding(result=Result.WARNING, reason=reason, remedy=remedy)


def failure(reason: str, remedy: str) -> Finding:
    """Return a finding that breaks a promise, now or later."""
    return Finding(result=Result.MEND, reason=reason, remedy=remedy)


def skipped(reason: str) -> Finding:
    """Return a finding for a check that is impossible or does not apply."""
    return Finding(result=Result.SKIPPED, reason=reason)


class DoctorTarget:
    """The deployment that is checked; values read once are cached.

    Args:
        settings: The settings of the deployment.
        role: The role whose permissions are needed: ``worker`` or ``backend``.
    """

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings, self.role = settings, role
        self.url = settings.redis_url.get_secret_value()
        self.address = parse_redis(self.url)
        self.keys = Keys(settings.prefix)
        self.client: redis.Redis = connect(self.url, settings.prefix)
        self.executor = SyncExecutor(self.client)
        self.store: Store = make_store(settings)

    @functools.cached_property
    def info(self) -> Mapping[str, Any]:
        """The result of INFO; checks read it with ``get``, because servers differ."""
        return cast("Mapping[str, Any]", self.client.info("default"))

    @functools.cached_property
    def view(self) -> StatusSnapshot:
        """The snapshot of the ledger for the status."""
        return self.executor.run(self.store.status_snapshot())

    def config(self, name: str) -> str | None:
        """Return a setting of Redis, ``None`` if Redis does not show it (hosted ones refuse)."""
        try:
            found = cast("Mapping[str, Any]", self.client.config_get(name))
        except ResponseError:
            return None
        return None if name not in found else str(found[name])

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


Check = Callable[[DoctorTarget], Finding]
