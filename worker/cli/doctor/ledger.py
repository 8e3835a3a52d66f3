"""Checks of the ledger's Redis: version, durability, limits and contents."""

from __future__ import annotations

import time
from typing import Any, Final

import redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from checkpoint_worker.tasks.storage.base import EMBEDDED_RUN_ID
from checkpoint_worker.tasks.storage.connections import NO_TLS, why
from checkpoint_worker.tasks.storage.executor import CONNECTIONS_MAX
from checkpoint_worker.tasks.storage.vault import BadKeyError, CannotOpenError, Vault, context_name
from checkpoint_worker.worker.cli.doctor.finding import (
    DoctorTarget,
    Finding,
    failure,
    ok,
    skipped,
    warning,
)
from checkpoint_worker.worker.observability.broker_queue import in_cluster_mode
from checkpoint_worker.worker.observability.status import (
    MEMORY_NEAR,
    memory_of,
    refusal,
)

VERSION_MIN: Final = (6, 2)
"""The oldest version with XAUTOCLAIM, ZADD … PXAT and SET … GET."""
CLOCK_WARN_S: Final = 1.0
MEMORY_WARN: Final = 0.8
"""Share of the machine's memory that is a warning, if Redis has no limit of its own."""
IDLE_MIN_S: Final = 60
PUBSUB_MIN: Final = 8 * 1024 * 1024
CONNECTIONS: Final = CONNECTIONS_MAX + 16
"""Connections of one worker: the ledger's pool, its subscriptions, and Celery's."""
TRIED_MAX: Final = 20
"""Largest number of sealed values that are opened for a check."""


def version(target: DoctorTarget) -> Finding:
    """Check that this Redis is recent enough."""
    speaks = str(target.info.get("redis_version", "unknown"))
    number = tuple(int(part) for part in speaks.split(".")[:2] if part.isdigit())
    own = target.info.get("valkey_version")
    found = f"Valkey {own}" if own else f"Redis {speaks}"
    if number and number < VERSION_MIN:
        return failure(f"{found} lacks commands that are used", "Redis 6.2 or newer, or Valkey")
    return ok(found)


def identity(target: DoctorTarget) -> Finding:
    """Check that a restart or failover would be detected."""
    snapshot = target.executor.run(target.store.sweep_snapshot(most=0))
    if snapshot.run_id != EMBEDDED_RUN_ID:
        return ok("known: what another Redis accepted is never sent twice")
    if target.settings.embedded:
        return ok("unknown, as the single-machine mode allows")
    return failure(
        "INFO is refused inside scripts, so a failover would not be noticed; nothing is sent",
        "a real Redis, and an ACL with +info for this user",
    )


def role(target: DoctorTarget) -> Finding:
    """Check that this Redis is a master, and the state of its replicas."""
    if target.info.get("role") != "master":
        return failure(
            "it is a read-only replica",
            "the master's address, or sentinel://… in CHECKPOINT_REDIS_URL, which finds it",
        )
    replicas = [
        each
        for name, each in target.info.items()
        if name.startswith("slave") and isinstance(each, dict) and "state" in each
    ]
    if not replicas:
        return ok("master without replicas")
    late = [each for each in replicas if each["state"] != "online" or int(each.get("lag", 0)) > 1]
    if late:
        return warning(
            f"{len(late)} of {len(replicas)} replicas lag or are not online: a failover now loses"
            " what they lack",
            "their log and network; a larger client-output-buffer-limit replica",
        )
    if target.config("min-replicas-to-write") == "0":
        return warning(
            "it takes writes that no replica has: a failover may lose what was just accepted",
            "CONFIG SET min-replicas-to-write 1, and min-replicas-max-lag 10",
        )
    return ok(f"master with {len(replicas)} replicas")


def writes(target: DoctorTarget) -> Finding:
    """Check that Redis accepts writes, as far as INFO shows it."""
    found = refusal(target.info, clustered=bool(target.address.cluster))
    if found:
        return failure(f"nothing can be written: {found}", "what is said there; its log says more")
    return ok("nothing keeps it from taking what is written")


def persistence(target: DoctorTarget) -> Finding:
    """Check that records survive a restart."""
    if target.settings.embedded:
        return ok("none, as the single-machine mode has it")
    info = target.info
    aof = str(info.get("aof_enabled")) == "1"
    failed = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if info.get(name, "ok") != "ok"
    ]
    if failed:
        return failure(
            f"saving to disk has failed ({', '.join(failed)}); Redis may refuse writes",
            "disk space and permissions of its directory; its log says more",
        )
    if aof:
        if target.config("appendfsync") == "no":
            return warning(
                "the append-only file is written when the kernel likes",
                "CONFIG SET appendfsync everysec",
            )
        return ok("append-only file")
    save = target.config("save")
    remedy = "CONFIG SET appendonly yes, and in redis.conf"
    if save or int(info.get("connected_slaves", 0)) > 0 or save is None:
        return warning(
            "no append-only file: a restart loses outcomes since the last snapshot or replica",
            remedy,
        )
    return failure("nothing is saved: a restart loses every record and every open intent", remedy)


def eviction(target: DoctorTarget) -> Finding:
    """Check that Redis does not evict records."""
    policy = target.info.get("maxmemory_policy") or target.config("maxmemory-policy")
    if policy is None:
        return skipped("maxmemory-policy is not told; it must be noeviction")
    if policy != "noeviction":
        return failure(
            f"maxmemory-policy is {policy}: intents, records and codes may vanish",
            "CONFIG SET maxmemory-policy noeviction, and in redis.conf; a cache is another Redis",
        )
    return ok("noeviction")


def memory(target: DoctorTarget) -> Finding:
    """Compare the memory in use with its limit."""
    info = target.info
    used, most = memory_of(info)
    limit = most or int(info.get("total_system_memory", 0))
    if not limit:
        return skipped("its memory is not told")
    share = used / limit
    what = "maxmemory" if most else "the machine's memory"
    reason = f"{used / 2**20:.0f} MiB used, {share:.0%} of {what}"
    remedy = (
        "a larger maxmemory, a shorter CHECKPOINT_RESULT_TTL_S, a lower CHECKPOINT_OUTCOMES_MAX"
    )
    taken_max = target.settings.memory_share_max
    limited = f"{taken_max:.0%} (CHECKPOINT_MEMORY_SHARE_MAX)"
    if most and share >= taken_max:
        return failure(f"{reason}: from {limited} on nothing new is taken in (503)", remedy)
    if most and share >= taken_max - MEMORY_NEAR:
        return warning(f"{reason}: at {limited} nothing new is taken in (503)", remedy)
    if not most and share >= MEMORY_WARN:
        return warning(reason, remedy)
    return ok(reason)


def clock(target: DoctorTarget) -> Finding:
    """Compare this machine's clock with that of Redis, which decides all deadlines."""
    before = time.time()
    seconds, micros = target.client.time()
    after = time.time()
    there = int(seconds) + int(micros) / 1e6
    apart_s = max(before - there, there - after, 0.0)
    if apart_s > CLOCK_WARN_S:
        return warning(
            f"{apart_s:.1f} s apart from Redis: outcomes come in time, but times in logs do not"
            " match those in records, and cookies expire wrongly",
            "time synchronisation (chrony, systemd-timesyncd) on both machines",
        )
    return ok(f"within {max(apart_s, after - before):.3f} s of Redis")


def connections(target: DoctorTarget) -> Finding:
    """Compare the connections that Redis accepts with the number that workers need."""
    most = target.config("maxclients") or target.info.get("maxclients")
    if most is None:
        return skipped("maxclients is not told")
    used, most = int(target.info.get("connected_clients", 0)), int(most)
    workers = max(1, len(target.view.workers))
    need = workers * CONNECTIONS
    reason = (
        f"{used} of maxclients {most} in use; up to {CONNECTIONS} for each of {workers} workers"
    )
    remedy = "CONFIG SET maxclients 10000, and the limit of open files of Redis"
    if most < need:
        return failure(f"{reason}: workers would be refused", remedy)
    if used + CONNECTIONS > most:
        return warning(f"{reason}: the next worker would be refused", remedy)
    return ok(reason)


def idle(target: DoctorTarget) -> Finding:
    """Check that Redis does not close idle connections early."""
    found = target.config("timeout")
    if found is None:
        return skipped("its timeout is not told")
    if 0 < int(found) < IDLE_MIN_S:
        return warning(
            f"Redis hangs up after {found} s of silence, so commands meet dead connections",
            f"CONFIG SET timeout 0 (or {IDLE_MIN_S} and more), and in redis.conf",
        )
    return ok("Redis does not hang up early")


def slow_listeners(target: DoctorTarget) -> Finding:
    """Check at which backlog Redis disconnects a slow subscriber."""
    found = target.config("client-output-buffer-limit")
    if found is None:
        return skipped("client-output-buffer-limit is not told")
    words = found.split()
    limits = dict(zip(words[::4], words[1::4], strict=False))
    hard = int(limits.get("pubsub", 0))
    if 0 < hard < PUBSUB_MIN:
        return warning(
            f"subscribers that are {hard} bytes behind are dropped, and miss outcomes until they"
            " look at the record",
            "CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60'",
        )
    return ok("room for slow subscribers")


# Contents of the ledger ------------------------------------------------------------------


def opens(target: DoctorTarget) -> Finding:
    """Check that the configured keys open sealed values in Redis; their contents are not shown."""
    try:
        vault = Vault([key.get_secret_value() for key in target.settings.secret_keys])
    except BadKeyError:
        return skipped("there is no usable key")
    members: Any = target.client.zrange(target.keys.due, 0, TRIED_MAX - 1)
    intents = [target.keys.parse_member(member) for member in members]
    tried, shut = 0, []
    for provider, account_id in intents:
        sealed: Any = target.client.get(target.keys.context(provider, account_id))
        if sealed is None:
            continue
        tried += 1
        try:
            vault.open(context_name(provider, account_id), sealed)
        except CannotOpenError as error:
            shut.append(str(error))
    if shut:
        return failure(
            f"{len(shut)} of {tried} open intents cannot be opened here: {shut[0]}",
            "the same CHECKPOINT_SECRET_KEYS everywhere; a new key goes first, the old one stays"
            " behind it until all it sealed has expired",
        )
    return ok(f"{tried} contexts of open intents tried, all open")


def workers(target: DoctorTarget) -> Finding:
    """Count the workers whose heartbeats are recent."""
    view, settings = target.view, target.settings
    lost_ms = settings.lost_after_s * 1000
    alive = [each for each in view.workers if view.now_ms - each.beat_ms <= lost_ms]
    if not alive:
        return warning("no worker is alive", "`checkpoint worker`; `checkpoint status` says more")
    if len(alive) < len(view.workers):
        return warning(
            f"{len(view.workers) - len(alive)} of {len(view.workers)} workers are silent",
            "restart them; what they held is settled by another one",
        )
    return ok(f"{len(alive)} alive")


def dead_letters(target: DoctorTarget) -> Finding:
    """Report messages that were set aside."""
    count = target.view.dead_letters
    if count:
        return warning(
            f"{count} messages were set aside as malformed or foreign",
            f"LRANGE {target.keys.dead_letters} 0 9 says why; find who sends them, then DEL it",
        )
    return ok("none")


def reachable(target: DoctorTarget) -> Finding:
    """Connect to Redis, a condition of all further checks."""
    try:
        target.client.ping()
    except NoPermissionError:
        pass  # It answers; `permissions` reports the rest.
    except AuthenticationError:
        return failure("Redis refuses this user or password", "correct CHECKPOINT_REDIS_URL")
    except (RedisError, OSError) as error:
        meaning = why(error)
        if not meaning and target.address.tls is not None and isinstance(error, redis.TimeoutError):
            meaning = NO_TLS
        return failure(
            f"Redis does not answer ({type(error).__name__}){meaning and f': {meaning}'}",
            "start it, or correct CHECKPOINT_REDIS_URL (scheme, host, port, user and password)",
        )
    if not target.address.cluster and in_cluster_mode(target.client):
        return failure(
            "Redis answers, but it runs in cluster mode, and the address is of a single server: the"
            " next failover or move of keys would leave it behind",
            "CHECKPOINT_REDIS_URL=redis+cluster://… (deploy/docs/addresses.md), and"
            " CHECKPOINT_PREFIX={checkpoint}",
        )
    return ok("it answers")
