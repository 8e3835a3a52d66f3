"""What Celery's tracer keeps of a task that ends with an exception."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.app import trace
from celery.exceptions import Ignore

from checkpoint_worker.tasks.celery_task.async_task import Superseded
from checkpoint_worker.tasks.celery_task.task import SolveFailed
from checkpoint_worker.worker.runtime.exception_info import report_outcomes_without_stack

ENDS: Final = 50
BLOCKS_MAX: Final = 100
"""Memory blocks of one report; billiard's has thousands."""
OUTCOMES: Final = (Ignore, Superseded, SolveFailed)
Ends = Callable[[type[Exception]], Any]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Return what runs a task through Celery's own tracer until it raises."""
    monkeypatch.setattr(trace, "ExceptionInfo", ExceptionInfo)  # Restored after the test.
    with Celery(set_as_current=False) as app:

        @app.task(name="raises", throws=(SolveFailed,), ignore_result=True, shared=False)
        def raises(kind: type[Exception]) -> None:
            raise kind

        tracer = trace.build_tracer("raises", raises, app=app)
        request = {"id": "1", "task": "raises"}
        yield lambda kind: tracer("1", (kind,), {}, request)


def blocks_of(ends: Ends, kind: type[Exception]) -> float:
    """Return the memory blocks that each of some reports holds."""
    ends(kind)
    gc.collect()
    before = sys.getallocatedblocks()
    kept = [ends(kind) for _ in range(ENDS)]
    return (sys.getallocatedblocks() - before) / len(kept)


@pytest.mark.parametrize("kind", OUTCOMES)
def test_the_report_of_an_outcome_is_small(ends: Ends, kind: type[Exception]) -> None:
    """A burst of refused codes took 100 MB for copies of the tracer's own instructions."""
    whole = blocks_of(ends, kind)
    report_outcomes_without_stack()
    assert blocks_of(ends, kind) < BLOCKS_MAX < whole


def test_the_report_of_a_fault_has_its_stack(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that is no outcome is a defect; its places help to find it."""
    report_outcomes_without_stack()
    with caplog.at_level(logging.INFO):
        report = ends(ZeroDivisionError).retval
    assert "in raises" in report.traceback
    assert "in raises" in caplog.text


@pytest.mark.parametrize("kind", OUTCOMES)
def test_the_report_of_an_outcome_names_it(
    ends: Ends, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Monitors show the text, and Celery's log line is the same as before."""
    with caplog.at_level(logging.INFO):
        ends(kind)
        before = caplog.text
        caplog.clear()
        report_outcomes_without_stack()
        report = ends(kind).retval
    assert report.traceback.startswith(f"{kind.__name__}: ")
    assert report.type is kind
    assert caplog.text == before
