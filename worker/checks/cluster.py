"""Of a Redis in cluster mode: who knows where the keys are, and what a failure would cost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tasks.cluster import ASK, slot_of
from tasks.connections import why
from tasks.ledger import asking_options
from worker.checks.finding import Finding, Site, mend, ok, skipped, warning

NODES_MIN: Final = 2
"""In the address: one that is lost must not be the only one that is asked."""


def cluster(site: Site) -> Finding:
    """Ask each node of the address who has the keys, and look at what follows that one."""
    places = site.address.cluster
    if not places:
        return skipped("CHECKPOINT_REDIS_URL is not redis+cluster://…")
    slot = slot_of(site.settings.prefix)
    told, silent, causes = {}, [], []
    for host, port in places:
        try:
            rows = _ask(site, host, port)
        except (RedisError, OSError) as error:
            silent.append(f"{host}:{port}")
            causes.append(why(error))
            continue
        told[f"{host}:{port}"] = _row(rows, slot), len({_name(row[2]) for row in rows})
    if not told:
        cause = next(filter(None, causes), "")
        found = f"no node of the cluster answers{cause and f': {cause}'}"
        return mend(found, "start them, or correct CHECKPOINT_REDIS_URL and the user's rights")
    if lost := [name for name, (row, _) in told.items() if row is None]:
        return mend(
            f"no master has slot {slot}, that of CHECKPOINT_PREFIX: so say {', '.join(lost)}",
            "CLUSTER INFO and CLUSTER NODES there; the cluster's own tools mend it",
        )
    owners = {_name(row[2]) for row, _ in told.values() if row is not None}
    if len(owners) > 1:
        return mend(
            f"the nodes do not agree who has the slot {slot}: {', '.join(sorted(owners))}",
            "CLUSTER NODES on each; one of them may be cut off from the others",
        )
    row, shards = next(iter(told.values()))
    assert row is not None
    return _judged(site, silent, replicas=len(row) - 3, shards=shards, owner=owners.pop())


def _judged(site: Site, silent: list[str], *, replicas: int, shards: int, owner: str) -> Finding:
    if silent:
        return warning(f"silent: {', '.join(silent)}", "start them, or leave them out")
    if not replicas:
        return warning(
            f"{owner} has all keys and no replica: with it every record is lost, and the cluster"
            " stops",
            "a replica for each master, on a machine of its own",
        )
    if shards > 1 and site.config("cluster-require-full-coverage") == "yes":
        return warning(
            f"{owner} has all keys, and stops as well when one of the {shards} shards is lost",
            "CONFIG SET cluster-require-full-coverage no on each node",
        )
    return ok(f"{owner} has all keys, with {replicas} replicas; {shards} shards")


def _ask(site: Site, host: str, port: int) -> list[Any]:
    options: Mapping[str, Any] = asking_options(site.address)
    asked = redis.Redis(
        host=host, port=port, retry=Retry(NoBackoff(), 0), decode_responses=True, **options
    )
    with closing(asked):
        rows: list[Any] = asked.execute_command(*ASK)
        return rows


def _row(rows: list[Any], slot: int) -> list[Any] | None:
    return next((row for row in rows if row[0] <= slot <= row[1]), None)


def _name(node: list[Any]) -> str:
    return f"{node[0]}:{node[1]}"
