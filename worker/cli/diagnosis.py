"""Is it healthy, what is stuck, whose fault is it, what may be done: what a look means.

Pure: it says in words what a glance shows, and only what a glance shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Actor
from checkpoint_worker.tasks.records import timestamp
from checkpoint_worker.worker.observability.status import MEMORY_NEAR, StatusReport

TROUBLE_SHARE: Final = 0.2
TROUBLE_COUNT: Final = 3
"""Others' failures are a trouble when they are so large a part of a provider's, and not single."""

OURS: Final = frozenset({(500, "unexpected_error"), (504, "request_timeout")})
"""Outcomes that only this deployment can cause: told from the first one, and before all others.
Of a worker that was killed nothing else is left once another has settled what it held."""
CAUSES: Final[Mapping[tuple[int, str], tuple[str, str]]] = {
    (408, "request_timeout"): (
        "the provider, or the way to it",
        "nothing to restart; `checkpoint doctor` tries to reach it; compare with its status page",
    ),
    (500, "provider_error"): (
        "the provider",
        "nothing to restart; if it lasts, take it out of service with CHECKPOINT_PROVIDERS",
    ),
    (500, "unexpected_error"): (
        "this program",
        "a bug: the workers' logs say where; report it with the submission's id",
    ),
    (502, "proxy_error"): (
        "the proxies of these intents",
        "try one by hand; the login service chooses them, intents opened from now on may differ",
    ),
    (407, "proxy_auth_error"): (
        "the proxies' credentials",
        "correct them where the login service has them; open intents keep the old ones",
    ),
    (503, "network_down"): (
        "this network: name service, route or firewall",
        "`checkpoint doctor` tries each provider from here",
    ),
    (503, "no_client_session"): ("the client sessions", "start them, or look why they do not beat"),
    (503, "no_channel"): ("the client sessions", "they are registered but do not listen: restart"),
    (503, "service_unavailable"): ("the provider", "it says so itself; wait"),
    (504, "request_timeout"): (
        "this deployment: too few workers, or one that was lost",
        "start another worker; that is safe at any time",
    ),
}
"""Whose fault a frequent outcome is, and what may be done; others say who acts."""
SAFE: Final = (
    "Always safe: starting a worker, stopping one with SIGTERM, restarting one that hangs;"
    " no code is sent twice. Not safe: FLUSHALL, and deleting keys by hand."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong: what, whose, and what may be done about it."""

    what: str
    whose: str
    do: str


def diagnose(glance: StatusReport) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Say why a deployment is not healthy, and what else deserves a look.

    Returns:
        Reasons, none for a healthy one, and notes: first what is missing or wrong here, then what
        seems to be others'.
    """
    reasons = (
        *_ledger(glance),
        *_workers(glance),
        *_broker(glance),
        *_backlog(glance),
        *_overdue(glance),
    )
    return reasons, (*_leftovers(glance), *_frequent(glance))


def _ledger(glance: StatusReport) -> list[Problem]:
    if not glance.refuses:
        full = glance.memory_share is not None and glance.memory_share >= _share_max(glance)
        return [_memory(glance, "nothing new is taken in (503)")] if full else []
    return [
        Problem(
            what=f"the ledger's Redis refuses what is written: {glance.refuses}",
            whose="that Redis",
            do="nothing is taken until it does not; `checkpoint doctor` says more",
        )
    ]


def _share_max(glance: StatusReport) -> float:
    return glance.settings.memory_share_max


def _memory(glance: StatusReport, then: str) -> Problem:
    return Problem(
        what=f"the ledger's Redis uses {glance.memory_share:.0%} of its maxmemory: {then}; the"
        f" limit is {_share_max(glance):.0%} (CHECKPOINT_MEMORY_SHARE_MAX)",
        whose="that Redis, or what fills it",
        do="raise maxmemory (CONFIG SET, and in redis.conf); what has been accepted goes on to its"
        " outcome; records leave after CHECKPOINT_RESULT_TTL_S",
    )


def _workers(glance: StatusReport) -> list[Problem]:
    workers = glance.view.workers
    if any(not glance.is_lost(each) for each in workers):
        return []
    last = f"; the last one beat {glance.beat_age_s(workers[0]):.0f} s ago" if workers else ""
    return [
        Problem(
            what=f"no worker is alive{last}",
            whose="this deployment",
            do="start one: `checkpoint worker`; what waits past its deadline is answered 504",
        )
    ]


def _broker(glance: StatusReport) -> list[Problem]:
    if glance.queue is not None:
        return []
    return [
        Problem(
            what="the broker does not answer, so no worker hears of a new submission"
            + (glance.broker_why and f": {glance.broker_why}"),
            whose="the broker, or the network to it",
            do="bring it back (CHECKPOINT_BROKER_URL; unset: the ledger's Redis);"
            " what waits is woken again by itself",
        )
    ]


def _backlog(glance: StatusReport) -> list[Problem]:
    view, settings = glance.view, glance.settings
    found = []
    if view.oldest is not None and glance.oldest_s > settings.queue_age_max_s:
        found.append(
            Problem(
                what=f"{view.oldest.submission_id} has waited {glance.oldest_s:.0f} s for a worker"
                f" (CHECKPOINT_QUEUE_AGE_MAX_S is {settings.queue_age_max_s:g})",
                whose="this deployment: its workers are too few or take nothing",
                do="start another worker; that is safe at any time",
            )
        )
    if view.waiting >= settings.queue_max:
        found.append(
            Problem(
                what=f"{view.waiting} wait; new submissions are refused (503)",
                whose="this deployment: more comes than its workers can do",
                do="start more workers; do not raise CHECKPOINT_QUEUE_MAX, they would be late",
            )
        )
    return found


def _overdue(glance: StatusReport) -> list[Problem]:
    if not glance.view.overdue:
        return []
    view = glance.view
    first = f", the longest: {view.late[0][1]} at {view.late[0][0]}" if view.late else ""
    return [
        Problem(
            what=f"{view.overdue} overdue{first}; "
            + ("the sweep is behind" if view.leader else "nobody sweeps"),
            whose="this deployment: the worker that sweeps is gone, hangs or cannot keep up",
            do="start a worker, or restart the one that sweeps; until then an outcome is written"
            " when somebody asks for it",
        )
    ]


def _leftovers(glance: StatusReport) -> list[Problem]:
    view, found = glance.view, []
    share, most = glance.memory_share, _share_max(glance)
    if share is not None and most - MEMORY_NEAR <= share < most:
        found.append(_memory(glance, "at the limit nothing new is taken in (503)"))
    silent = [each for each in view.workers if glance.is_silent(each)]
    if silent and not all(map(glance.is_lost, view.workers)):
        first = max(silent, key=glance.beat_age_s)
        found.append(
            Problem(
                what=f"{len(silent)} of {len(view.workers)} workers are silent: {first.name} for"
                f" {glance.beat_age_s(first):.0f} s",
                whose="that worker or its machine",
                do="look whether it runs, and restart it; another one settles what it held after"
                f" {glance.settings.lost_after_s:g} s of silence, and it is not shown any more",
            )
        )
    if glance.queue is not None and glance.queue < view.waiting and view.oldest is not None:
        found.append(
            Problem(
                what=f"{view.waiting} wait, but only {glance.queue} messages are in the queue",
                whose="the broker lost wakes, or a worker is just taking them",
                do="nothing: the sweeper wakes them again within"
                f" {glance.settings.wake_again_s:g} s",
            )
        )
    if view.dead_letters:
        found.append(
            Problem(
                what=f"{view.dead_letters} messages were set aside as malformed or foreign",
                whose="whoever sent them",
                do=f"LRANGE {glance.settings.prefix}:dead 0 9 says why; DEL it once understood",
            )
        )
    return found


def _frequent(glance: StatusReport) -> list[Problem]:
    """Say whose fault it is when one kind of failure stands out at a provider; ours first."""
    totals: Counter[str] = Counter()
    for each in glance.outcomes:
        totals[each.provider] += each.count
    found = []
    for each in sorted(glance.outcomes, key=lambda each: (each.status, each.type) not in OURS):
        row, total = catalogue.PAIRS.get((each.status, each.type)), totals[each.provider]
        if row is None or not (row.who is Actor.OPERATOR or row.key in CAUSES):
            continue
        often = each.count >= TROUBLE_COUNT and each.count >= TROUBLE_SHARE * total
        if often or row.key in OURS:
            whose, do = CAUSES.get(row.key, (row.who.value, row.detail))
            what = f"{each.provider}: {each.count} of {total} outcomes are {row.status} {row.type}"
            found.append(Problem(what=what, whose=whose, do=do))
    return found


def as_json(glance: StatusReport) -> dict[str, Any]:
    """Return a look and what it means, for a script."""
    reasons, notes = diagnose(glance)
    oldest = glance.view.oldest
    return {
        "healthy": not reasons,
        "reasons": [asdict(each) for each in reasons],
        "notes": [asdict(each) for each in notes],
        "at": timestamp(glance.view.now_ms).isoformat(timespec="milliseconds"),
        "workers": [
            {
                "name": each.name,
                "state": "lost" if glance.is_lost(each) else "alive",
                "beat_age_s": glance.beat_age_s(each),
                "in_flight": each.holds,
                "to_close": each.drains,
                "sweeps": each.name == glance.view.leader,
            }
            for each in glance.view.workers
        ],
        "waiting": glance.view.waiting,
        "oldest": asdict(oldest) | {"age_s": glance.oldest_s} if oldest else None,
        "queue": glance.queue,
        "in_flight": glance.in_flight,
        "overdue": glance.view.overdue,
        "late": [
            {"provider": provider, "account_id": account_id}
            for provider, account_id in glance.view.late
        ],
        "dead_letters": glance.view.dead_letters,
        "memory_share": glance.memory_share,
        "minutes": glance.minutes,
        "outcomes": [asdict(each) for each in glance.outcomes],
        "complete": glance.complete,
    }
