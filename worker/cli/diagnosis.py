"""Turns a status report into diagnoses: problem, likely cause, remedy.

Pure: it uses nothing but the report.
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
"""A frequent failure of others is reported from this share and this number of outcomes on."""

OURS: Final = frozenset({(500, "unexpected_error"), (504, "request_timeout")})
"""Outcomes that only this deployment can cause. Each one is reported, before all others. They are
the only trace of a worker that was killed, once another worker has settled its submissions."""
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
        "this network: name service, route or firewall; `cause` in the workers' log says which",
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
"""Maps a frequent outcome to its cause and its remedy; for others the catalogue names the actor."""
SAFE: Final = (
    "Always safe: starting a worker, stopping one with SIGTERM, restarting one that hangs;"
    " no code is sent twice. Not safe: FLUSHALL, and deleting keys by hand."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A fault: what is wrong, who causes it, and how to mend it."""

    what: str
    whose: str
    do: str


def diagnose(report: StatusReport) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Return why a deployment is not healthy, and further observations.

    Returns:
        Reasons, none for a healthy deployment, and notes: first faults of this deployment, then
        those that others probably cause.
    """
    reasons = (
        *_ledger(report),
        *_workers(report),
        *_broker(report),
        *_backlog(report),
        *_overdue(report),
    )
    return reasons, (*_leftovers(report), *_frequent(report))


def _ledger(report: StatusReport) -> list[Problem]:
    if not report.refuses:
        share = report.view.memory_share
        full = share is not None and share >= _share_max(report)
        return [_memory(report, "nothing new is taken in (503)")] if full else []
    return [
        Problem(
            what=f"the ledger's Redis refuses what is written: {report.refuses}",
            whose="that Redis",
            do="nothing is taken until it does not; `checkpoint doctor` says more",
        )
    ]


def _share_max(report: StatusReport) -> float:
    return report.settings.memory_share_max


def _memory(report: StatusReport, then: str) -> Problem:
    return Problem(
        what=f"the ledger's Redis uses {report.view.memory_share:.0%} of its maxmemory: {then}; the"
        f" limit is {_share_max(report):.0%} (CHECKPOINT_MEMORY_SHARE_MAX)",
        whose="that Redis, or what fills it",
        do="raise maxmemory (CONFIG SET, and in redis.conf); what has been accepted goes on to its"
        " outcome; records leave after CHECKPOINT_RESULT_TTL_S",
    )


def _workers(report: StatusReport) -> list[Problem]:
    workers = report.view.workers
    if any(not report.is_lost(each) for each in workers):
        return []
    last = f"; the last one beat {report.beat_age_s(workers[0]):.0f} s ago" if workers else ""
    return [
        Problem(
            what=f"no worker is alive{last}",
            whose="this deployment",
            do="start one: `checkpoint worker`; what waits past its deadline is answered 504",
        )
    ]


def _broker(report: StatusReport) -> list[Problem]:
    if report.queue is not None:
        return []
    return [
        Problem(
            what="the broker does not answer, so no worker hears of a new submission"
            + (report.broker_why and f": {report.broker_why}"),
            whose="the broker, or the network to it",
            do="bring it back (CHECKPOINT_BROKER_URL; unset: the ledger's Redis);"
            " what waits is woken again by itself",
        )
    ]


def _backlog(report: StatusReport) -> list[Problem]:
    view, settings = report.view, report.settings
    found = []
    if view.oldest is not None and view.oldest_s > settings.queue_age_max_s:
        found.append(
            Problem(
                what=f"{view.oldest.submission_id} has waited {view.oldest_s:.0f} s for a worker"
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


def _overdue(report: StatusReport) -> list[Problem]:
    if not report.view.overdue:
        return []
    view = report.view
    first = f", the longest: {view.late[0][1]} at {view.late[0][0]}" if view.late else ""
    return [
        Problem(
            what=f"{view.overdue} overdue{first}; "
            + ("the sweep is behind" if view.leader else "nobody sweeps"),
            whose="this deployment: the worker that sweeps is gone, hangs or cannot keep up",
            do="start a worker, or restart the one that sweeps; until then an outcome is written"
            " when a client asks for it",
        )
    ]


def _leftovers(report: StatusReport) -> list[Problem]:
    view, found = report.view, []
    share, most = report.view.memory_share, _share_max(report)
    if share is not None and most - MEMORY_NEAR <= share < most:
        found.append(_memory(report, "at the limit nothing new is taken in (503)"))
    silent = [each for each in view.workers if report.is_silent(each)]
    if silent and not all(map(report.is_lost, view.workers)):
        first = max(silent, key=report.beat_age_s)
        found.append(
            Problem(
                what=f"{len(silent)} of {len(view.workers)} workers are silent: {first.name} for"
                f" {report.beat_age_s(first):.0f} s",
                whose="that worker or its machine",
                do="look whether it runs, and restart it; another one settles what it held after"
                f" {report.settings.lost_after_s:g} s of silence, and it is not shown any more",
            )
        )
    if report.queue is not None and report.queue < view.waiting and view.oldest is not None:
        found.append(
            Problem(
                what=f"{view.waiting} wait, but only {report.queue} messages are in the queue",
                whose="the broker lost wakes, or a worker is just taking them",
                do="nothing: the sweeper wakes them again within"
                f" {report.settings.wake_again_s:g} s",
            )
        )
    if view.dead_letters:
        found.append(
            Problem(
                what=f"{view.dead_letters} messages were set aside as malformed or foreign",
                whose="the program that sent them",
                do=f"LRANGE {report.settings.prefix}:dead 0 9 says why; DEL it once understood",
            )
        )
    return found


def _frequent(report: StatusReport) -> list[Problem]:
    """Return a problem for each outcome that is frequent at a provider, our own faults first."""
    totals: Counter[str] = Counter()
    for each in report.outcomes:
        totals[each.provider] += each.count
    found = []
    for each in sorted(report.outcomes, key=lambda each: (each.status, each.type) not in OURS):
        row, total = catalogue.PAIRS.get((each.status, each.type)), totals[each.provider]
        if row is None or not (row.who is Actor.OPERATOR or row.key in CAUSES):
            continue
        often = each.count >= TROUBLE_COUNT and each.count >= TROUBLE_SHARE * total
        if often or row.key in OURS:
            whose, do = CAUSES.get(row.key, (row.who.value, row.detail))
            what = f"{each.provider}: {each.count} of {total} outcomes are {row.status} {row.type}"
            found.append(Problem(what=what, whose=whose, do=do))
    return found


def as_json(report: StatusReport) -> dict[str, Any]:
    """Return a report and its diagnosis for `--json`."""
    reasons, notes = diagnose(report)
    oldest = report.view.oldest
    return {
        "healthy": not reasons,
        "reasons": [asdict(each) for each in reasons],
        "notes": [asdict(each) for each in notes],
        "at": timestamp(report.view.now_ms).isoformat(timespec="milliseconds"),
        "workers": [
            {
                "name": each.name,
                "state": "lost" if report.is_lost(each) else "alive",
                "beat_age_s": report.beat_age_s(each),
                "in_flight": each.holds,
                "to_close": each.drains,
                "sweeps": each.name == report.view.leader,
            }
            for each in report.view.workers
        ],
        "waiting": report.view.waiting,
        "oldest": asdict(oldest) | {"age_s": report.view.oldest_s} if oldest else None,
        "queue": report.queue,
        "in_flight": report.view.in_flight,
        "overdue": report.view.overdue,
        "late": [
            {"provider": provider, "account_id": account_id}
            for provider, account_id in report.view.late
        ],
        "dead_letters": report.view.dead_letters,
        "memory_share": report.view.memory_share,
        "minutes": report.minutes,
        "outcomes": [asdict(each) for each in report.outcomes],
        "complete": report.complete,
    }
