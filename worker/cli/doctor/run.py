"""The order of the checks, and the handling of those that fail to run."""

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
"""Yields the name of each check and the function that runs it."""


def examine(settings: Settings, role: str, *, offline: bool) -> Made:
    """Yield the checks in order.

    Args:
        settings: The settings of the deployment.
        role: The role whose permissions are needed: ``worker`` or ``backend``.
        offline: Leave out the checks that connect to providers.
    """
    with closing(DoctorTarget(settings, role)) as target:
        yield from _bind(HERE, target)
        reached: list[Finding] = []

        def reach() -> Finding:
            reached.append(ledger.reachable(target))
            return reached[0]

        yield "Redis", reach
        if reached and reached[0].result is Result.OK:
            yield from _bind(REDIS, target)
        elif target.address.sentinels is not None:
            yield from _bind((("sentinel", around.sentinel),), target)
        elif target.address.cluster:
            yield from _bind((("cluster", cluster.cluster),), target)
        if not offline:
            names = ((name, around.provider(name)) for name in settings.providers)
            yield from _bind(tuple(names), target)


def _bind(checks: tuple[tuple[str, Check], ...], target: DoctorTarget) -> Made:
    for name, check in checks:
        yield name, partial(_run, check, target)


def _run(check: Check, target: DoctorTarget) -> Finding:
    """Run a check; if Redis refuses or does not answer, return a finding about that."""
    try:
        return check(target)
    except NoPermissionError:
        return skipped("this Redis user may not look at it")
    except LedgerError as error:
        if NoPermissionError.__name__ in str(error):  # A backend needs no access to the workers.
            return skipped("this Redis user may not look at it")
        return failure(str(error), "see the checks of Redis and of permissions above")
    except (RedisError, OSError) as error:
        return warning(f"Redis did not tell ({type(error).__name__})", "try again; see its log")
