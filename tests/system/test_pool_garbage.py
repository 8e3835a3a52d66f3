"""What a job leaves in memory when it ends: nothing that only the collector could free.

A task's exception, its traceback and the frames of Celery's tracer point at each other. A worker
that left them to the collector grew by 50-190 KB with each code that did not end well.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from checkpoint_worker.worker.local.embedded_redis import EmbeddedRedis
from checkpoint_worker.worker.runtime.garbage import (
    BLOCKS_OF_ATTEMPT,
    GROWN_MAX,
    YOUNG,
    Growth,
    spare_the_collector,
)
from tests.support.probe import ask
from tests.system.test_pool import Worker

JOBS: Final = 10
EACH_MAX: Final = 20.0
"""Objects a job: Celery's cycle has 2,500. A retry leaves a signature that refers to itself, a
replaced exception the class that was made for it: seven objects each."""


class Probed(Worker):
    """A worker whose garbage can be counted."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder / "worker.log", "-c", "100")
        self.probe = folder / "probe"
        python, _, *celery = self._command
        self._command = [python, "-m", "tests.support.probe", str(self.probe), *celery]

    def heard(self, key: str) -> None:
        """Wait for a word of each job."""
        for _ in range(JOBS):
            self.hear(key)

    def all_ended(self) -> None:
        """Wait until whatever was sent before has left the pool."""
        self.monitor.until(self._is_idle)

    def _is_idle(self) -> bool:
        last = self.send("superseded", None)
        self.monitor.wait_state(last, "REVOKED")
        stats: Any = self.app.control.inspect(timeout=10, limit=1).stats() or {}
        return all(one["pool"]["running"] == 0 for one in stats.values())


@pytest.fixture(scope="module")
def worker(
    redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Probed]:
    """One worker for all ends."""
    url = f"{redis_server.url.removesuffix('/0')}/2"
    with Probed(url, tmp_path_factory.mktemp("garbage")) as worker:
        for task in ("ending", "ending_in_thread"):  # Imports and caches.
            worker.send(task, "failed")
            worker.hear("ending")
        yield worker


def by_end(kind: str, task: str = "ending") -> Callable[[Probed], None]:
    """Return what runs jobs that end in a way."""

    def run(worker: Probed) -> None:
        for _ in range(JOBS):
            worker.send(task, kind)
        worker.heard("ending")

    return run


def by_retry(worker: Probed) -> None:
    """Each is tried twice."""
    for job in [worker.send("retrying") for _ in range(JOBS)]:
        worker.monitor.wait_state(job, "SUCCESS")


def by_soft_limit(worker: Probed) -> None:
    """Half of them forgive it."""
    for number in range(JOBS):
        worker.send("patient", kwargs={"forgiving": number % 2 == 0}, soft_time_limit=0.1)
    worker.heard("soft")


def by_hard_limit(worker: Probed) -> None:
    """They are cancelled, and go."""
    for _ in range(JOBS):
        worker.send("held", time_limit=0.1)
    worker.heard("cancelled")


def by_revoke(worker: Probed) -> None:
    """An operator ends them."""
    jobs = [worker.send("held") for _ in range(JOBS)]
    worker.heard("held")
    worker.app.control.revoke(jobs, terminate=True)
    worker.heard("cancelled")


ENDS: Final[dict[str, Callable[[Probed], None]]] = {
    **{
        f"{kind} {where}": by_end(kind, task)
        for where, task in (("coroutine", "ending"), ("thread", "ending_in_thread"))
        for kind in ("plain", "failed", "ignored", "rejected", "superseded", "unpicklable", "group")
    },
    "retried": by_retry,
    "soft limit": by_soft_limit,
    "hard limit": by_hard_limit,
    "revoked": by_revoke,
}


def test_no_end_of_a_job_leaves_garbage(worker: Probed) -> None:
    """With the collector off, whatever is left of a job would stay for ever."""
    left: dict[str, Any] = {}
    for name, run in ENDS.items():
        worker.redis.delete("ending", "soft", "held", "cancelled", "all_gone")
        ask(worker.probe, "hold")
        run(worker)
        worker.all_ended()
        found = ask(worker.probe, "garbage")
        if sum(found.values()) > JOBS * EACH_MAX:
            left[name] = found
    assert left == {}


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_a_full_round_comes_when_growth_is_not_explained_by_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory has a bound even where a job leaves garbage; a burst of attempts is no reason.

    A full round among 10,000 in flight takes a second, and a claim that is granted meanwhile would
    come too late to send.
    """
    blocks = 1_000_000
    monkeypatch.setattr(gc, "collect", lambda: 2)
    growth = Growth(lambda: blocks)
    blocks += 10_000 * BLOCKS_OF_ATTEMPT
    assert not growth.look(10_000), "a burst"
    blocks += GROWN_MAX
    with capture_logs() as logs:
        assert growth.look(10_000), "garbage beside the burst"
    assert [(line["event"], line["objects"]) for line in logs] == [("garbage.collected", 2)]
    assert not growth.look(10_000), "it stayed, so it is no garbage"
    blocks = 800_000
    assert not growth.look(0)
    blocks += GROWN_MAX
    assert growth.look(0)


def test_old_garbage_is_found_though_python_s_own_rounds_are_rare() -> None:
    """What has grown old before it became garbage is seen by a full round alone."""
    old = Ring()
    gc.collect()
    growth = Growth()  # After the collector: what it frees of other tests would hide the growth.
    gone = weakref.ref(old)
    held = [(number, str(number)) for number in range(GROWN_MAX)]
    assert sys.getallocatedblocks() > GROWN_MAX
    del old
    assert growth.look(0)
    assert gone() is None
    assert held


def test_python_s_own_rounds_are_spared_only_where_growth_can_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With another allocator Python counts no blocks: nothing would ever call for a full round."""
    set_to: list[tuple[int, ...]] = []
    monkeypatch.setattr(gc, "set_threshold", lambda *each: set_to.append(each))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: 0)
    spare_the_collector()
    assert set_to == []
    monkeypatch.undo()
    monkeypatch.setattr(gc, "set_threshold", lambda *each: set_to.append(each))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    spare_the_collector()
    assert set_to == [YOUNG]
