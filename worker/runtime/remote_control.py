"""Remote control: what a client of the broker may ask a worker, and nothing else.

Whoever may publish to the broker's control channel can send any of Celery's commands to every
worker: stop it, stop its consuming, make it drop a submission's wakes, dump its settings. Here a
worker answers questions alone, and each refusal says what does the thing instead. Flower needs no
more than that.

A fixed list rather than a setting: what is refused has a way of its own that keeps the promises
(``checkpoint cancel`` settles a submission in the ledger, Celery's ``revoke`` only drops messages
until the deadline has passed). What is not named here is refused, also what a later Celery adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from celery.worker import state as worker_state
from celery.worker.consumer.gossip import Gossip
from celery.worker.consumer.mingle import Mingle
from celery.worker.control import Panel
from kombu.matcher import registry

AS_THEY_ARE: Final = frozenset(
    {"active_queues", "clock", "dump_revoked", "enable_events", "heartbeat", "ping", "revoked"}
)
"""Commands of Celery that change nothing here and tell nothing secret."""
BROKER_SHOWN: Final = ("transport", "hostname", "port", "virtual_host", "ssl", "heartbeat")
"""What is told of the broker's connection: its options may hold the sentinels' password."""
SETTINGS_SHOWN: Final = ("task_", "worker_", "accept_content", "enable_utc", "imports")
"""Beginnings of the names of Celery's settings that are told."""

_CANCEL: Final = "`checkpoint cancel ID` takes a submission back"
_STOP: Final = "stop a worker with SIGTERM where it runs"
_LIMITS: Final = "times are settings (`checkpoint config`)"
_PLACES: Final = "set CHECKPOINT_CONCURRENCY and restart"
INSTEAD: Final[Mapping[str, str]] = {
    "add_consumer": "workers serve the queue of CHECKPOINT_PREFIX alone",
    "autoscale": _PLACES,
    "cancel_consumer": _STOP,
    "disable_events": "Flower lives on them",
    "pool_grow": _PLACES,
    "pool_restart": _STOP,
    "pool_shrink": _PLACES,
    "rate_limit": _LIMITS,
    "report": "`checkpoint doctor` and `checkpoint config`, where the worker runs",
    "revoke": _CANCEL,
    "revoke_by_stamped_headers": _CANCEL,
    "shutdown": _STOP,
    "terminate": _CANCEL,
    "time_limit": _LIMITS,
}
"""What does it instead of a refused command."""

Handler = Callable[..., Any]

log = structlog.get_logger("checkpoint.remote")


def limit_remote_control() -> None:
    """Limit what this process answers, for good. Call it before a worker starts to consume."""
    for name in list(Panel.data):
        if name not in AS_THEY_ARE:
            Panel.data[name] = ANSWERS.get(name) or _refusing(name)
    # Workers learn of each other from the ledger. Celery's own ways believe whatever a client of
    # the broker says: which submissions are revoked, which task an elected worker has to send.
    Mingle.compatible_transports = Gossip.compatible_transports = frozenset()
    # A broadcast may name its hearers by a pattern. A regular expression can keep the consumer's
    # thread for hours, so it fits nobody.
    registry.register("pcre", _fits_nobody)


def _fits_nobody(_pattern: str, _name: str) -> bool:
    log.warning("remote.pattern_refused")
    return False


def _refusing(name: str) -> Handler:
    """Return the handler of a command that is refused."""
    reason = f"{name} is refused here"
    answer = {"error": f"{reason}; {INSTEAD[name]}" if name in INSTEAD else reason}

    def refuse(_state: Any, /, **_: Any) -> dict[str, str]:  # noqa: ANN401  Celery's
        log.warning("remote.refused", command=name)
        return answer

    return refuse


def _hello(state: Any, /, **_: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    """Answer another worker's greeting; Celery takes its word for what is revoked."""
    return {"revoked": {}, "clock": state.app.clock.forward()}


def _stats(state: Any, /, **_: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    stats: dict[str, Any] = state.consumer.controller.stats()
    broker = stats.get("broker") or {}
    return stats | {"broker": {name: broker.get(name) for name in BROKER_SHOWN}}


def _conf(state: Any, /, **_: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    table: Mapping[str, Any] = state.app.conf.table(with_defaults=False)
    return {
        name: value
        for name, value in table.items()
        if name.startswith(SETTINGS_SHOWN)
        and isinstance(value, (str, int, float, list, tuple, type(None)))
    }


def _registered(state: Any, /, **_: Any) -> list[str]:  # noqa: ANN401  Celery's
    """Tell the names of tasks; Celery tells any attribute of theirs that is asked for."""
    return sorted(name for name in state.app.tasks if not name.startswith("celery."))


def _info(request: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    # Its representation, not its arguments: those of a plain producer hold the sealed code.
    shown: dict[str, Any] = request.info(safe=True)
    return shown


def _active(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    return [_info(request) for request in list(worker_state.active_requests)]


def _reserved(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    waiting = set(worker_state.reserved_requests) - set(worker_state.active_requests)
    return [_info(request) for request in waiting]


def _scheduled(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    """Tell that nothing is scheduled: a wake has no start time."""
    return []


def _query_task(_state: Any, /, ids: Any = (), **_: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    found: dict[str, Any] = {}
    for task_id in ids if isinstance(ids, list) else [ids]:
        request = worker_state.requests.get(task_id) if isinstance(task_id, str) else None
        if request is not None:
            active = request in worker_state.active_requests
            found[task_id] = ("active" if active else "reserved", _info(request))
    return found


ANSWERS: Final[Mapping[str, Handler]] = {
    "active": _active,
    "conf": _conf,
    "dump_active": _active,
    "dump_conf": _conf,
    "dump_reserved": _reserved,
    "dump_schedule": _scheduled,
    "dump_tasks": _registered,
    "hello": _hello,
    "query_task": _query_task,
    "registered": _registered,
    "reserved": _reserved,
    "scheduled": _scheduled,
    "stats": _stats,
}
"""Commands that are answered here in place of Celery."""

__all__ = ["ANSWERS", "AS_THEY_ARE", "INSTEAD", "limit_remote_control"]
