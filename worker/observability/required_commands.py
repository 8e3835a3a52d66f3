"""The Redis commands that each role runs, as input of a permission check."""

from __future__ import annotations

from checkpoint_worker.tasks.storage.keys import Keys

Form = tuple[str | int, ...]


def forms(keys: Keys, role: str, *, clustered: bool = False) -> tuple[Form, ...]:
    """Return one command of every kind that a role runs, with the key names that it uses."""
    intent, result = keys.intent("LINKEDIN", "doctor"), keys.result("doctor")
    due, stream = keys.due, keys.outcomes
    both: tuple[Form, ...] = (
        ("EVAL", "return 1", 0), ("EVALSHA", "0" * 40, 0), ("TIME",), ("INFO", "server"),
        ("GET", intent), ("GET", result), ("SET", intent, ""), ("SET", result, ""),
        ("SET", keys.seen("doctor"), ""), ("SET", keys.solution("doctor"), ""),
        ("SET", keys.context("LINKEDIN", "doctor"), ""), ("DEL", keys.solution("doctor")),
        ("PEXPIRE", keys.holds("doctor"), 1), ("EXISTS", intent),
        ("ZADD", due, 1, "doctor"), ("ZREM", due, "doctor"), ("ZCARD", keys.queued),
        ("ZCOUNT", keys.queued, 0, 1), ("ZRANGE", keys.queued, 0, 1), ("ZRANGEBYSCORE", due, 0, 1),
        ("ZSCORE", due, "doctor"), ("SADD", keys.holds("doctor"), "doctor"),
        ("SREM", keys.holds("doctor"), "doctor"), ("SMEMBERS", keys.holds("doctor")),
        ("HSET", keys.drains("doctor"), "doctor", 1), ("HDEL", keys.drains("doctor"), "doctor"),
        ("XADD", stream, "*", "record", ""), ("XREVRANGE", stream, "+", "-"),
        ("XGROUP", "CREATE", stream, "doctor", "0"), ("XINFO", "CONSUMERS", stream, "doctor"),
        ("XREADGROUP", "GROUP", "doctor", "doctor", "STREAMS", stream, ">"),
        ("XAUTOCLAIM", stream, "doctor", "doctor", 1, "0"), ("XACK", stream, "doctor", "0-1"),
        ("PUBLISH", keys.results, ""), ("PUBLISH", keys.account_results("doctor"), ""),
        ("PUBLISH", keys.signals, ""), ("SUBSCRIBE", keys.account_results("doctor")),
    )  # fmt: skip
    if clustered:
        both += (("CLUSTER", "SLOTS"),)
    if role == "backend":
        return both
    return (
        *both,
        ("SUBSCRIBE", keys.signals), ("HGETALL", keys.drains("doctor")),
        ("HLEN", keys.drains("doctor")), ("SCARD", keys.holds("doctor")),
        ("ZREVRANGE", keys.beats, 0, 1), ("ZREVRANGEBYSCORE", keys.due, 1, 0),
        ("ZADD", keys.acked, 1, "doctor"),
        ("SET", keys.leader, ""), ("LLEN", keys.dead_letters),
        ("SET", keys.session("LINKEDIN", "doctor"), ""), ("SET", keys.user("LINKEDIN", "1"), ""),
        ("GETRANGE", keys.live_session("LINKEDIN", "doctor"), 0, 1),
        ("PUBLISH", keys.live_requests("LINKEDIN", "doctor"), ""),
        ("LPUSH", keys.dead_letters, ""), ("LTRIM", keys.dead_letters, 0, 1),
    )  # fmt: skip


def broker_forms(keys: Keys, role: str, db: int = 0) -> tuple[Form, ...]:
    """Return the commands that Celery runs on a Redis broker."""
    binding = f"_kombu.binding.{keys.queue}"
    both: tuple[Form, ...] = (
        ("LPUSH", keys.queue, ""), ("LLEN", keys.queue),
        ("SADD", binding, ""), ("SMEMBERS", binding), ("PING",),
    )  # fmt: skip
    if role == "backend":
        return both
    return (
        *both,
        ("BRPOP", keys.queue, 1), ("PSUBSCRIBE", f"/{db}.{keys.control}.pidbox"),
        ("PUBLISH", f"/{db}.{keys.events}/worker.heartbeat", ""),
    )  # fmt: skip
