"""The order of the checks, and what becomes of one that cannot be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Final

from redis.exceptions import NoPermissionError, RedisError

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.executor import LedgerError
from checkpoint_worker.worker.cli.doctor import around, cluster, host, ledger, permissions
from checkpoint_worker.worker.cli.doctor.finding import (
    Check,
    DoctorTarget,
    Finding,
    Result,
    failure,
    skipped,
    warning,
)

BEFORE: Final[tuple[tuple[str, Callable[[], Finding]], ...]] = (
    ("Python", host.python),
    ("libraries", host.libraries),
    ("variables", host.variables),
    ("foreign variables", host.foreign),
)
"""Checks that need no settings."""
HERE: Final[tuple[tuple[str, Check], ...]] = (
    ("time-outs", host.times),
    ("secret keys", host.secret_keys),
    ("raw intake", host.raw_intake),
    ("addresses", host.transport),
    ("single-machine mode", host.embedded),
    ("open files", host.open_files),
    ("core dumps", host.core_dumps),
    ("kernel", host.kernel),
)
REDIS: Final[tuple[tuple[str, Check], ...]] = (
    ("version", ledger.version),
    ("permissions", permissions.permissions),
    ("identity", ledger.identity),
    ("role and replicas", ledger.role),
    ("writes", ledger.writes),
    ("sentinel", around.sentinel),
    ("cluster", cluster.cluster),
    ("persistence", ledger.persistence),
    ("eviction", ledger.eviction),
    ("memory", ledger.memory),
    ("connections", ledger.connections),
    ("idle connections", ledger.idle),
    ("slow subscribers", ledger.slow_listeners),
    ("clock", ledger.clock),
    ("sealed values", ledger.opens),
    ("queue", around.queue),
    ("workers", ledger.workers),
    ("dead letters", ledger.dead_letters),
)


Made = Iterator[tuple[str, Callable[[], Finding]]]
"""Each check's name, and what makes it when it is its turn."""


def examine(settings: Settings, role: str, *, offline: bool) -> Made:
    """Yield the checks in order.

    Args:
        settings: Of the deployment.
        role: Whose permissions are needed: ``worker`` or ``backend``.
        offline: Leave the providers alone.
    """
    with closing(DoctorTarget(settings, role)) as site:
        yield from _made(HERE, site)
        reached: list[Finding] = []

        def reach() -> Finding:
            reached.append(ledger.reachable(site))
            return reached[0]

        yield "Redis", reach
        if reached and reached[0].result is Result.OK:
            yield from _made(REDIS, site)
        elif site.address.sentinels is not None:
            yield from _made((("sentinel", around.sentinel),), site)
        elif site.address.cluster:
            yield from _made((("cluster", cluster.cluster),), site)
        if not offline:
            names = ((name, around.provider(name)) for name in settings.providers)
            yield from _made(tuple(names), site)


def _made(checks: tuple[tuple[str, Check], ...], site: DoctorTarget) -> Made:
    for name, check in checks:
        yield name, partial(_tell, check, site)


def _tell(check: Check, site: DoctorTarget) -> Finding:
    """Make a check; one that Redis does not allow or answer is no verdict on anything else."""
    try:
        return check(site)
    except NoPermissionError:
        return skipped("this Redis user may not look at it")
    except LedgerError as error:
        if NoPermissionError.__name__ in str(error):  # A backend need not see the workers.
            return skipped("this Redis user may not look at it")
        return failure(str(error), "see the checks of Redis and of permissions above")
    except (RedisError, OSError) as error:
        return warning(f"Redis did not tell ({type(error).__name__})", "try again; see its log")
