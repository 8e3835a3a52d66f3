"""``checkpoint bench``, which runs the same program as ``make bench``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import click

from checkpoint_worker.worker.cli.commands.common import fail

MODULE = "tests.benchmarks"


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def bench(*, as_json: bool, options: tuple[str, ...]) -> None:
    """Measure throughput and latency on this machine, for minutes; keep it idle.

    The same as ``make bench``; OPTIONS go to it as they are. It is part of the source tree,
    not of an installed package.

    \b
    Examples:
      checkpoint bench
      checkpoint bench --quick
      checkpoint bench --only throughput --jobs 500 --rounds 1
    """  # noqa: D301
    try:
        there = importlib.util.find_spec(f"{MODULE}.__main__") is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        fail("`bench` is part of the source tree: run it, or `make bench`, in a clone of it")
    # A new process, so that modules imported here do not distort the measurement.
    words = [sys.executable, "-m", MODULE, *(("--json",) if as_json else ()), *options]
    done = subprocess.run(words, check=False)  # noqa: S603  our own module
    sys.exit(1 if done.returncode else 0)
