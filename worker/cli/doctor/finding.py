"""The nouns of the doctor: a finding, and the site that is examined."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from redis.exceptions import ResponseError

from checkpoint_worker.tasks.addresses import parse_redis
from checkpoint_worker.tasks.client import make_store
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import SyncExecutor, connect
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.store import Overview, Store

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", ""})


class Result(enum.StrEnum):
    """How a check ended. Only ``failure`` makes the exit status 1."""

    OK = "ok"
    WARNING = "warning"
    MEND = "mend"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        result: How it ended.
        reason: What was found, and what that means. Carries no secret.
        remedy: What to do about it; empty where there is nothing to do.
    """

    result: Result
    reason: str
    remedy: str = ""


def ok(reason: str) -> Finding:
    """All is well."""
    return Finding(result=Result.OK, reason=reason)


def warning(reason: str, remedy: str) -> Finding:
    """It works, but somebody may be sorry later."""
    return Finding(result=Result.WARNING, reason=reason, remedy=remedy)


def failure(reason: str, remedy: str) -> Finding:
    """A promise is broken, or will be."""
    return Finding(result=Result.MEND, reason=reason, remedy=remedy)


def skipped(reason: str) -> Finding:
    """It could not be looked at, or does not apply."""
    return Finding(result=Result.SKIPPED, reason=reason)


class DoctorTarget:
    """A deployment under examination; what was read once is not read again.

    Args:
        settings: Of the deployment.
        role: Whose permissions are needed: ``worker`` or ``backend``.
    """

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings, self.role = settings, role
        self.url = settings.redis_url.get_secret_value()
        self.address = parse_redis(self.url)
        self.keys = Keys(settings.prefix)
        self.client: redis.Redis = connect(self.url, settings.prefix)
        self.door = SyncExecutor(self.client)
        self.store: Store = make_store(settings)

    @functools.cached_property
    def info(self) -> Mapping[str, Any]:
        """Everything INFO tells; a check reads it with ``get``, since servers differ."""
        return cast("Mapping[str, Any]", self.client.info("default"))

    @functools.cached_property
    def view(self) -> Overview:
        """What lies in the ledger."""
        return self.door.run(self.store.overview())

    def config(self, name: str) -> str | None:
        """Return a setting of Redis, ``None`` where it is not told (hosted ones refuse)."""
        try:
            found = cast("Mapping[str, Any]", self.client.config_get(name))
        except ResponseError:
            return None
        return None if name not in found else str(found[name])

    def close(self) -> None:
        """Hang up."""
        self.client.close()


Check = Callable[[DoctorTarget], Finding]
