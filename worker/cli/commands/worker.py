"""``checkpoint worker``: runs a worker in this process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from checkpoint_worker.worker.cli.commands.common import read_settings, sentences

if TYPE_CHECKING:
    from celery import Celery

until_stdin_closes = click.option("--until-stdin-closes", is_flag=True, hidden=True)


@click.command(context_settings={"ignore_unknown_options": False})
@click.option("--concurrency", "-c", type=click.IntRange(1), help="Verifications in flight.")
@click.option(
    "--log-level",
    "-l",
    type=click.Choice(("DEBUG", "INFO", "WARNING", "ERROR"), case_sensitive=False),
    help="In place of CHECKPOINT_LOG_LEVEL.",
)
@until_stdin_closes
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(
    *,
    concurrency: int | None,
    log_level: str | None,
    until_stdin_closes: bool,
    celery_options: tuple[str, ...],
) -> None:
    """Run a worker in this process.

    The same as ``celery -A worker worker -E``. What follows ``--`` goes to Celery as it is.

    \b
    Examples:
      checkpoint worker
      checkpoint worker --concurrency 5000 --log-level WARNING
      checkpoint worker -- --hostname east@%h --without-gossip
    """  # noqa: D301
    with sentences():
        # Not as Celery's option: it ignores WARNING, which is its default.
        if log_level is not None:
            os.environ["CHECKPOINT_LOG_LEVEL"] = log_level
        from checkpoint_worker.tasks.operations.celery_app import forget_foreign  # noqa: PLC0415

        # The app reports these variables, but Celery already reads some when it is imported.
        forget_foreign()
        read_settings(tell_unknown=False)
        if until_stdin_closes:
            from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

            end_with_stdin()
        from checkpoint_worker.worker import celery  # noqa: PLC0415

        options = ["--concurrency", str(concurrency)] if concurrency else []
        sys.exit(_run_celery(celery, ["--quiet", "worker", "-E", *options, *celery_options]))


def _run_celery(app: Celery, words: list[str]) -> int:
    """Run Celery's own command and return its exit status, which `Celery.worker_main` drops."""
    from celery.bin.celery import celery as program  # noqa: PLC0415

    program.params[0].default = app
    status: int | None = program.main(args=words, prog_name="celery", standalone_mode=False)
    return status or 0
