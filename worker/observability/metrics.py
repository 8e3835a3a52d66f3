"""Prometheus metrics of a worker.

The table of `worker/README.md` lists every name, and a test compares both. No metric has an id as a
label, and every label value comes from a closed set, so the settings bound the number of series.

The metrics have three sources:

- `tasks.execution.observer` reports the events of this process.
- Outcomes are written by each process that settles: worker, client or gateway. Each outcome is
  appended to the ledger's stream, which the workers read as one consumer group. So exactly one
  worker counts each outcome, and a sum over all workers is right.
- The state of the ledger (waiting, overdue) is read at a scrape, at most every few seconds; all
  workers report the same values.

`worker.observability.ledger_gauges` reads the last two.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.execution.observer import Observer, Refusal
from checkpoint_worker.tasks.storage.executor import (
    AsyncExecutor,
    LedgerBusyError,
    LedgerError,
    Operation,
)

PACKAGE: Final = "checkpoint-worker"
OTHER: Final = "other"
"""Label of a provider that is not in service here, and of an outcome not in the catalogue."""
BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 40.0,
)  # fmt: skip
"""Bounds in seconds: from a fast provider to a deadline of 30 s and the sweep after it."""
UNKNOWN_VERDICT: Final = frozenset({408, 500, 502, 503, 504})
"""Statuses after which it is unknown whether the provider used a code that was sent."""

T = TypeVar("T")

# They double the number of series; Prometheus detects a restart by a counter's reset.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _ProviderChildren:
    """The children of one provider, bound once, so that no attempt looks up labels."""

    __slots__ = ("ambiguous", "killed", "outcome_s", "provider_s", "refused", "sends",
                 "submissions", "superseded", "swept", "wait_s")  # fmt: skip

    def __init__(self, metrics: Metrics, provider: str) -> None:
        self.submissions = metrics.submissions.labels(provider)
        self.wait_s = metrics.queue_wait.labels(provider)
        self.outcome_s = metrics.outcome_time.labels(provider)
        self.provider_s = metrics.provider_time.labels(provider)
        self.sends = metrics.sends.labels(provider)
        self.refused = {each: metrics.sends_refused.labels(provider, each) for each in Refusal}
        self.superseded = metrics.superseded.labels(provider)
        self.killed = metrics.killed.labels(provider)
        self.ambiguous = metrics.ambiguous.labels(provider)
        self.swept = metrics.swept.labels(provider)


class Metrics:
    """All metrics of one worker process, in a registry of its own.

    Args:
        providers: Names of the providers in service.
    """

    def __init__(self, providers: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._build_counters()
        self._build_gauges()
        ProcessCollector(registry=self.registry)
        self._places: dict[str, _ProviderChildren] = {}
        self._outcomes: dict[tuple[str, int, str], Any] = {}
        self._other = self._bind(OTHER)
        self.serve(providers)

    def _build_counters(self) -> None:
        self.submissions = self._counter(
            "submissions", "Submissions whose attempt began.", ("provider",)
        )
        self.outcomes = self._counter(
            "outcomes", "Final outcomes.", ("provider", "status", "type", "who")
        )
        self.outcome_time = self._histogram("outcome_seconds", "Accepted to outcome.")
        self.queue_wait = self._histogram(
            "queue_wait_seconds", "Accepted to the moment its attempt may begin."
        )
        self.provider_time = self._histogram(
            "provider_seconds", "Claim to the end of the exchange, for codes that were sent."
        )
        self.sends = self._counter("sends", "Codes sent.", ("provider",))
        self.sends_refused = self._counter(
            "sends_refused", "Codes held back just before they were sent.", ("provider", "reason")
        )
        self.superseded = self._counter("superseded", "Overtaken by a newer code.", ("provider",))
        self.killed = self._counter(
            "killed", "Outcomes of submissions whose intent is killed.", ("provider",)
        )
        self.ambiguous = self._counter(
            "ambiguous",
            "Codes that were sent; whether the provider used them is unknown.",
            ("provider",),
        )
        self.swept = self._counter("swept", "Settled by the sweeper.", ("provider",))
        self.lost_successes = self._counter(
            "successes_lost", "Accepted by the provider after the intent had been opened again."
        )
        self.wakes_again = self._counter("wakes_again", "Woken again: their message was lost.")
        self.workers_lost = self._counter("workers_lost", "Workers judged lost.")
        self.ledger_errors = self._counter(
            "ledger_errors", "Operations that the ledger did not answer.", ("kind",)
        )
        self.broker_errors = self._counter(
            "broker_errors", "Operations the broker refused or did not answer.", ("operation",)
        )
        self.dead_letters = self._counter("dead_letters", "Messages set aside.")
        self.broker_connection = self.broker_errors.labels("connection")
        self.broker_wake = self.broker_errors.labels("wake")
        self.broker_length = self.broker_errors.labels("queue_length")
        self.ledger_unavailable = self.ledger_errors.labels("unavailable")
        self.ledger_busy = self.ledger_errors.labels("busy")

    def _build_gauges(self) -> None:
        self.in_flight = self._gauge("in_flight", "Attempts that run here.")
        self.capacity = self._gauge("capacity", "Attempts that may run here at once.")
        self.loop_lag = self._gauge("loop_lag_seconds", "Worst lateness of the event loop lately.")
        self.ready = self._gauge("ready", "1 if ready.")
        self.draining = self._gauge("draining", "1 once the worker was asked to stop.")
        self.log_lines_lost = self._counter(
            "log_lines_lost", "Log lines that could not be written."
        )
        self.waiting = self._gauge("waiting", "Submissions that wait for an attempt.")
        self.oldest_waiting = self._gauge(
            "oldest_waiting_seconds", "Age of the oldest submission that waits."
        )
        self.overdue = self._gauge("overdue", "Intents with something due for over 5 s.")
        self.dead_letters_kept = self._gauge("dead_letters_kept", "Messages set aside and kept.")
        self.memory_share = self._gauge(
            "ledger_memory_share", "How much of its maxmemory the ledger's Redis uses, 0 to 1."
        )
        self.ledger_up = self._gauge("ledger_up", "1 if the ledger answered the last scrape.")
        build = self._gauge("build_info", "Always 1.", ("version", "python", "celery"))
        build.labels(version(PACKAGE), platform.python_version(), version("celery")).set(1)

    def _counter(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"checkpoint_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"checkpoint_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str) -> Histogram:
        return Histogram(
            f"checkpoint_{name}", help_text, ("provider",), registry=self.registry, buckets=BUCKETS
        )

    def serve(self, providers: Iterable[str]) -> None:
        """Bind the labels of the providers in service; all others are counted as ``other``."""
        for provider in providers:
            self._places.setdefault(provider, self._bind(provider))

    def _bind(self, provider: str) -> _ProviderChildren:
        # Each outcome starts at 0: Prometheus sees no increase of a counter that appears at 1.
        for (status, kind), who in _OUTCOMES.items():
            child = self.outcomes.labels(provider, str(status), kind, who)
            self._outcomes[provider, status, kind] = child
        return _ProviderChildren(self, provider)

    def place(self, provider: str) -> _ProviderChildren:
        """Return the children of a provider."""
        return self._places.get(provider, self._other)

    def count_outcome(self, record: Mapping[str, Any]) -> None:
        """Count one final record of the stream, as parsed from JSON."""
        status, body = int(record["status"]), record["body"]
        kind = catalogue.kind_of(body)
        provider = record["provider"] if record["provider"] in self._places else OTHER
        place = self.place(provider)
        (self._outcomes.get((provider, status, kind)) or self._outcomes[provider, 0, OTHER]).inc()
        if record["queued_at"] is not None:
            place.outcome_s.observe(_seconds(record["queued_at"], record["finished_at"]))
        if record["superseded_by"] is not None:
            place.superseded.inc()
        dead = (record["intent"] or {}).get("state") == "killed"
        if dead:
            place.killed.inc()
        if record["code_sent"] and status in UNKNOWN_VERDICT and not dead:
            place.ambiguous.inc()

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the format that a scraper accepts, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def _known_outcomes() -> dict[tuple[int, str], str]:
    errors = {pair.key: pair.who.value for pair in catalogue.PAIRS.values()}
    successes = {(each.status, each.object): "nobody" for each in catalogue.Success}
    return {**errors, **successes, (0, OTHER): "operator"}


_OUTCOMES: Final = _known_outcomes()


def _seconds(begin: str, end: str) -> float:
    took = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
    return max(0.0, took.total_seconds())


class Counting(Observer):
    """Counts the events that attempts and the sweeper report."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def began(self, provider: str, waited_ms: int) -> None:
        """See `Observer`."""
        place = self._metrics.place(provider)
        place.submissions.inc()
        place.wait_s.observe(max(0, waited_ms) / 1000)

    def refused(self, provider: str, reason: Refusal) -> None:
        """See `Observer`."""
        self._metrics.place(provider).refused[reason].inc()

    def exchanged(self, provider: str, took_s: float) -> None:
        """See `Observer`."""
        place = self._metrics.place(provider)
        place.sends.inc()
        place.provider_s.observe(took_s)

    def swept(self, provider: str) -> None:
        """See `Observer`."""
        self._metrics.place(provider).swept.inc()

    def success_lost(self) -> None:
        """See `Observer`."""
        self._metrics.lost_successes.inc()

    def woken_again(self) -> None:
        """See `Observer`."""
        self._metrics.wakes_again.inc()

    def worker_lost(self) -> None:
        """See `Observer`."""
        self._metrics.workers_lost.inc()


class CountingExecutor(AsyncExecutor):
    """An executor that counts failed operations of the ledger."""

    async def run(self, steps: Operation[T]) -> T:
        """See `AsyncExecutor`."""
        try:
            return await super().run(steps)
        except LedgerBusyError:
            METRICS.ledger_busy.inc()
            raise
        except LedgerError:
            METRICS.ledger_unavailable.inc()
            raise


METRICS: Final = Metrics()
"""The instance of this process."""
