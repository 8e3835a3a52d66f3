"""Remote control: the commands that a worker answers, and a refusal of all others.

A client that may publish to the broker's control channel can send each of Celery's commands to
every worker: stop the worker or its consumer, discard a submission's wakes, return its settings. A
checkpoint worker answers only queries, and each refusal names the alternative. Flower needs only
the queries.

The list is fixed and not a setting, because each refused command has an alternative that keeps the
promises (``checkpoint cancel`` settles a submission in the ledger, Celery's ``revoke`` only
discards messages until the deadline has passed). A command that is not listed is refused, such as
one that a later version of Celery adds.
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
"""Commands of Celery that are answered unchanged: they change nothing and return no secret."""
BROKER_SHOWN: Final = ("transport", "hostname", "port", "virtual_host", "ssl", "heartbeat")
"""Fields of the broker connection that are returned; its options may hold Sentinel's password."""
SETTINGS_SHOWN: Final = ("task_", "worker_", "accept_content", "enable_utc", "imports")
"""Prefixes of the names of Celery's settings that are returned."""

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
"""Maps a refused command to its alternative."""

Handler = Callable[..., Any]

log = structlog.get_logger("checkpoint.remote")


def limit_remote_control() -> None:
    """Restrict the commands of this process, permanently. Call it before a worker consumes."""
    for name in list(Panel.data):
        if name not in AS_THEY_ARE:
            Panel.data[name] = ANSWERS.get(name) or _refusing(name)
    # Workers learn of each other from the ledger. Celery's mingle and gossip trust any client of
    # the broker: about revoked submissions, and about the task that an elected worker has to send.
    Mingle.compatible_transports = Gossip.compatible_transports = frozenset()
    # A broadcast may select its receivers by a pattern. A regular expression can block the
    # consumer's thread for hours, so every pattern is refused.
    registry.register("pcre", _refuse_pattern)


def _refuse_pattern(_pattern: str, _name: str) -> bool:
    log.warning("remote.pattern_refused")
    return False


def _refusing(name: str) -> Handler:
    """Return a handler that refuses the command."""
    reason = f"{name} is refused here"
    answer = {"error": f"{reason}; {INSTEAD[name]}" if name in INSTEAD else reason}

    def refuse(_state: Any, /, **_: Any) -> dict[str, str]:  # noqa: ANN401  Celery's
        log.warning("remote.refused", command=name)
        return answer

    return refuse


def _hello(state: Any, /, **_: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    """Answer another worker's greeting with no revoked tasks and ignore those that it names."""
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
    """Return the names of tasks; Celery's handler would also return any requested attribute."""
    return sorted(name for name in state.app.tasks if not name.startswith("celery."))


def _info(request: Any) -> dict[str, Any]:  # noqa: ANN401  Celery's
    # The representation, not the arguments: those of a plain producer hold the sealed code.
    shown: dict[str, Any] = request.info(safe=True)
    return shown


def _active(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    return [_info(request) for request in list(worker_state.active_requests)]


def _reserved(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    waiting = set(worker_state.reserved_requests) - set(worker_state.active_requests)
    return [_info(request) for request in waiting]


def _scheduled(_state: Any, /, **_: Any) -> list[dict[str, Any]]:  # noqa: ANN401  Celery's
    """Return an empty list: a wake has no start time."""
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
"""Commands that are answered by this module instead of Celery."""
