"""May this Redis user do the work? Asked for each command, with none of them run."""

from __future__ import annotations

from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from tasks.keys import Keys
from worker.checks.finding import Finding, Site, mend, ok

Form = tuple[str | int, ...]


def forms(keys: Keys, role: str, *, clustered: bool = False) -> tuple[Form, ...]:
    """Return a command of every kind that a role runs, with names as it runs them."""
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
    """Return what Celery runs on a Redis broker."""
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


def permissions(site: Site) -> Finding:
    """Ask for each command whether this user may run it, without running it.

    Inside MULTI a command is judged when it is queued, on every version; DISCARD forgets them.
    """
    pool: Any = site.client.connection_pool
    wanted = list(forms(site.keys, site.role, clustered=bool(site.address.cluster)))
    if site.settings.broker_url is None and site.address.path is None:
        wanted += broker_forms(site.keys, site.role, site.address.db)
    refused = []
    connection = pool.get_connection()
    try:
        connection.send_command("MULTI")
        connection.read_response()
        for form in wanted:
            connection.send_command(*form)
            try:
                connection.read_response()
            except NoPermissionError:
                refused.append(" ".join(map(str, form[:2])))
            except ResponseError:
                continue  # For another reason, which another check tells.
        connection.send_command("DISCARD")
        connection.read_response()
    except NoPermissionError:
        refused.append("MULTI")
    finally:
        connection.disconnect()
        pool.release(connection)
    if refused:
        return mend(
            f"this Redis user may not do what a {site.role} does: {', '.join(refused)}",
            f"ACL SETUSER … +{'|'.join(sorted({each.split()[0].lower() for each in refused}))}"
            f" on ~{site.keys.prefix}* and &{site.keys.prefix}*, or deploy's ACL file",
        )
    return ok(f"this user may do what a {site.role} does")
