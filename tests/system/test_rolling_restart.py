"""A rolling restart of two workers while codes keep coming: none lost, none sent twice."""

from __future__ import annotations

import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from tests.support.deployment import BOUND_S, Deployment, Person, Worker
from tests.support.fixtures import NewDeployment

RATE: Final = 50.0
"""Submissions a second."""
AT_LEAST: Final = 1_000
AT_MOST: Final = 6_000
SLOW_S: Final = 0.4
"""The provider takes so long, so that codes are on the wire whenever a worker is asked to stop."""


@dataclass(slots=True)
class Crowd:
    """Persons who submit right codes at a steady rate until told to stop."""

    deployment: Deployment
    typed: list[tuple[Person, str, str]] = field(default_factory=list)
    """Who, submission id and code."""
    took_s: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)
    _error: BaseException | None = None

    @contextmanager
    def submitting(self) -> Iterator[None]:
        """Let them submit for the length of the block, and until there are enough of them."""
        thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.done.set()
            thread.join()  # The test's own timeout is the bound.
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        begun_s = time.monotonic()
        try:
            while len(self.typed) < AT_LEAST or not self.done.is_set():
                assert len(self.typed) < AT_MOST, "the restart does not come to an end"
                self._one()
                # By the plan, not from one to the next: a hiccup is made up for.
                time.sleep(max(0, begun_s + len(self.typed) / RATE - time.monotonic()))
        except BaseException as error:  # noqa: BLE001  told by the thread that waits
            self._error = error
        self.took_s = time.monotonic() - begun_s

    def _one(self) -> None:
        person = self.deployment.person().open()
        person.faults(slow=SLOW_S)
        code = person.right()
        self.typed.append((person, person.submit(code), code))


def _replace(old: Worker) -> float:
    """Ask a worker to stop and wait until it has; return how long it drained, in seconds."""
    asked_s = time.monotonic()
    old.process.send_signal(signal.SIGTERM)
    assert old.process.wait(BOUND_S) == 0, old.log[-4000:]
    return time.monotonic() - asked_s


@pytest.mark.fault
def test_a_rolling_restart_loses_no_code_and_sends_none_twice(
    new_deployment: NewDeployment,
    redis_server: EmbeddedRedis,
) -> None:
    """That is what an upgrade is: one worker stops by SIGTERM, a new one comes, then the next.

    Every code is right, so anything but a 201 is a loss; the provider counts what it received.
    The wakes a stopping worker had taken and not begun are sent again by the sweeper.
    """
    # Times that a starved machine keeps: none of them is what is tested.
    deployment = new_deployment(
        f"{redis_server.url}?socket_timeout=10", wire_margin_s=5.0,
        connect_timeout_s=20.0, provider_timeout_s=30.0, deadline_s=200.0, drain_s=5.0,
        lost_after_s=20.0,
    )  # fmt: skip
    workers = [deployment.worker(), deployment.worker()]
    crowd = Crowd(deployment)
    drained_s = []
    with crowd.submitting():
        for old in workers:
            drained_s.append(_replace(old))
            deployment.worker()
    finals = [deployment.outcome(submission_id) for _, submission_id, _ in crowd.typed]
    _tell(crowd, finals, drained_s)

    lost = [(final.submission_id, final.body) for final in finals if final.status != 201]
    assert lost == []
    twice = {
        submission_id for person, submission_id, _ in crowd.typed if len(person.account.sends) != 1
    }
    assert twice == set()


def _tell(crowd: Crowd, finals: list[Outcome], drained_s: list[float]) -> None:
    took_s = [
        (final.finished_at - final.queued_at).total_seconds()
        for final in finals
        if final.finished_at and final.queued_at
    ]
    cuts = statistics.quantiles(took_s, n=100)
    print(  # noqa: T201  figures for a run with -s
        f"{len(finals)} submissions at {len(finals) / crowd.took_s:.0f}/s,"
        f" {sum(final.status == 201 for final in finals)} cleared;"
        f" drained in {', '.join(f'{each:.1f} s' for each in drained_s)};"
        f" outcome after p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, worst {max(took_s):.2f} s"
    )
