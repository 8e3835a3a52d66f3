"""Checks of a Redis in cluster mode: the owner of the keys, and the effect of a failure."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError
from redis.retry import Retry

from checkpoint_worker.tasks.storage.cluster import ASK, Place, place_of, slot_of
from checkpoint_worker.tasks.storage.connections import why
from checkpoint_worker.tasks.storage.executor import asking_options
from checkpoint_worker.worker.cli.doctor.finding import (
    DoctorTarget,
    Finding,
    failure,
    ok,
    skipped,
    warning,
)


class _SlotView(NamedTuple):
    """A node's view of the slot; without an owner the other fields mean nothing."""

    owner: str | None
    shards: int
    replicas: int


def cluster(target: DoctorTarget) -> Finding:
    """Ask each configured node for the owner of the keys; check that node and its replicas."""
    places = target.address.cluster
    if not places:
        return skipped("CHECKPOINT_REDIS_URL is not redis+cluster://…")
    slot = slot_of(target.settings.prefix)
    views: dict[str, _SlotView] = {}
    silent, causes = [], []
    for host, port in places:
        try:
            rows = _ask(target, (host, port))
        except (RedisError, OSError) as error:
            silent.append(f"{host}:{port}")
            causes.append(why(error))
            continue
        masters = [_name(row[2], (host, port)) for row in rows]
        row = next((row for row in rows if row[0] <= slot <= row[1]), None)
        owner = None if row is None else _name(row[2], (host, port))
        views[f"{host}:{port}"] = _SlotView(owner, len(set(masters)), len(row) - 3 if row else 0)
    if not views:
        cause = next(filter(None, causes), "")
        found = f"no node of the cluster answers{cause and f': {cause}'}"
        return failure(found, "start them, or correct CHECKPOINT_REDIS_URL and the user's rights")
    if lost := [name for name, each in views.items() if each.owner is None]:
        return failure(
            f"no master has slot {slot}, that of CHECKPOINT_PREFIX: so say {', '.join(lost)}",
            "CLUSTER INFO and CLUSTER NODES there; the cluster's own tools mend it",
        )
    owners = {str(each.owner) for each in views.values()}
    if len(owners) > 1:
        return failure(
            f"the nodes do not agree who has the slot {slot}: {', '.join(sorted(owners))}",
            "CLUSTER NODES on each; one of them may be cut off from the others",
        )
    return _check_owner(target, silent, next(iter(views.values())))


def _check_owner(target: DoctorTarget, silent: list[str], view: _SlotView) -> Finding:
    owner, shards, replicas = view
    try:
        target.client.ping()
    except NoPermissionError:
        pass  # The node answers.
    except (RedisError, OSError):
        return failure(
            f"{owner} has all keys, say the nodes, and does not answer from here",
            "start it; or an address that clients reach: cluster-announce-ip,"
            " cluster-announce-hostname and cluster-announce-port of each node",
        )
    if silent:
        return warning(f"silent: {', '.join(silent)}", "start them, or leave them out")
    if not replicas:
        return warning(
            f"{owner} has all keys and no replica: with it every record is lost, and the cluster"
            " stops",
            "a replica for each master, on a machine of its own",
        )
    if shards > 1 and target.config("cluster-require-full-coverage") == "yes":
        return warning(
            f"{owner} has all keys, and stops as well when one of the {shards} shards is lost",
            "CONFIG SET cluster-require-full-coverage no on each node",
        )
    return ok(f"{owner} has all keys, with {replicas} replicas; {shards} shards")


def _ask(target: DoctorTarget, place: Place) -> list[Any]:
    host, port = place
    options: Mapping[str, Any] = asking_options(target.address)
    asked = redis.Redis(
        host=host, port=port, retry=Retry(NoBackoff(), 0), decode_responses=True, **options
    )
    with closing(asked):
        rows: list[Any] = asked.execute_command(*ASK)
        return rows


def _name(node: list[Any], asked: Place) -> str:
    host, port = place_of(node, asked)
    return f"{host}:{port}"
