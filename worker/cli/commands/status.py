"""``checkpoint status``: prints the status report and its diagnosis."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from checkpoint_worker.worker.cli.commands.common import (
    FiniteRange,
    as_json,
    read_settings,
    sentences,
)
from checkpoint_worker.worker.cli.console import coloured, output, output_json, status_line, table

if TYPE_CHECKING:
    from checkpoint_worker.worker.cli.diagnosis import Problem
    from checkpoint_worker.worker.observability.status import StatusReader, StatusReport

WATCH_S: Final = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--count", type=click.IntRange(1), help="With --watch: end after so many looks.")
@click.option(
    "--minutes",
    type=FiniteRange(0.1, 60),
    default=5.0,
    show_default=True,
    help="How far back outcomes are counted.",
)
@as_json
def status(*, watch: bool, count: int | None, minutes: float, as_json: bool) -> None:
    """Say whether the deployment is healthy, what is stuck, and what may be done.

    Shows workers, what waits, what is in flight, what is overdue, and the outcomes of the last
    minutes. Exit status 0: healthy; 1: not, with the reason in words.

    \b
    Examples:
      checkpoint status
      checkpoint status --watch
      checkpoint status --json | jq '.reasons[].what'
    """  # noqa: D301
    if count is not None and not watch:
        msg = "--count goes with --watch"
        raise click.UsageError(msg)
    healthy = True
    with sentences(as_json=as_json):
        from checkpoint_worker.worker.observability.status import StatusReader  # noqa: PLC0415  `--help` must not import it

        reader = StatusReader(read_settings(), minutes)
        with contextlib.closing(reader), contextlib.suppress(KeyboardInterrupt):
            reports = _reports(reader, count if watch else 1)
            for report in reports:
                healthy = _show(report, as_json=as_json, live=watch)
    sys.exit(0 if healthy else 1)


def _reports(reader: StatusReader, count: int | None) -> Iterator[StatusReport]:
    """Yield a report each second; after the first one, wait for a Redis that does not answer."""
    from checkpoint_worker.tasks.storage.executor import LedgerError  # noqa: PLC0415

    done = 0
    while count is None or done < count:
        if done:
            time.sleep(WATCH_S)
        try:
            yield reader.look()
        except LedgerError as error:
            if not done:
                raise
            status_line(f"{error}; trying again")
        done += 1


def _show(report: StatusReport, *, as_json: bool, live: bool) -> bool:
    """Print one report; return whether the deployment is healthy."""
    from checkpoint_worker.worker.cli.diagnosis import as_json as for_script  # noqa: PLC0415
    from checkpoint_worker.worker.cli.diagnosis import diagnose  # noqa: PLC0415

    healthy = not diagnose(report)[0]
    if as_json:
        output_json(for_script(report))
        return healthy
    text = "\n".join(_lines(report))
    if live and sys.stdout.isatty():
        click.clear()
    output(text if not live or sys.stdout.isatty() else f"{text}\n")
    return healthy


def _lines(report: StatusReport) -> Iterator[str]:
    from checkpoint_worker.tasks.records import timestamp  # noqa: PLC0415
    from checkpoint_worker.worker.cli.diagnosis import SAFE, diagnose  # noqa: PLC0415

    reasons, notes = diagnose(report)
    view = report.view
    head = click.style("NOT HEALTHY", fg="red") if reasons else click.style("healthy", fg="green")
    yield f"{head}  {timestamp(view.now_ms):%Y-%m-%d %H:%M:%S} UTC"
    for each in reasons:
        yield from _problem(each, "red")
    for each in notes:
        yield from _problem(each, "yellow")
    yield ""
    yield f"waiting    {view.waiting}{_oldest(report)}"
    yield f"in queue   {'unknown' if report.queue is None else report.queue} at the broker"
    yield f"in flight  {report.view.in_flight}"
    yield f"overdue    {view.overdue}"
    yield f"dead       {view.dead_letters} messages set aside"
    if report.view.memory_share is not None:
        yield f"memory     {report.view.memory_share:.0%} of maxmemory"
    yield ""
    if view.workers:
        yield table(("worker", "last beat", "in flight", "to close", ""), _workers(report))
    else:
        yield "no workers"
    yield ""
    yield from _outcomes(report)
    if reasons:
        yield f"\n{SAFE}"


def _problem(problem: Problem, colour: str) -> Iterator[str]:
    yield f"  {click.style(problem.what, fg=colour)}"
    yield f"    whose: {problem.whose}"
    yield f"    do:    {problem.do}"


def _oldest(report: StatusReport) -> str:
    oldest = report.view.oldest
    return f", the oldest {report.view.oldest_s:.1f} s: {oldest.submission_id}" if oldest else ""


def _workers(report: StatusReport) -> Iterator[tuple[str, ...]]:
    for each in report.view.workers:
        words = ["lost" if report.is_lost(each) else "alive"]
        if each.name == report.view.leader:
            words.append("sweeps")
        if each.drains:
            words.append("closing overtaken exchanges")
        age = f"{report.beat_age_s(each):.1f} s ago"
        word = click.style(", ".join(words), fg="red" if report.is_lost(each) else "green")
        yield each.name, age, str(each.holds), str(each.drains), word


def _outcomes(report: StatusReport) -> Iterator[str]:
    total = sum(each.count for each in report.outcomes)
    least = "" if report.complete else "at least "
    yield f"{least}{total} outcomes in the last {report.minutes:g} minutes"
    rows = [
        (each.provider, coloured(f"{each.status} {each.type}", each.status), str(each.count))
        for each in sorted(report.outcomes, key=lambda each: (each.provider, each.status))
    ]
    if rows:
        yield table(("provider", "outcome", "count"), rows)
