"""``checkpoint worker``: runs a worker in this process, or several as its children."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from checkpoint_worker.worker.cli.commands.common import read_settings, sentences

if TYPE_CHECKING:
    from celery import Celery

    from checkpoint_worker.tasks.settings import Settings

PROCESSES_MAX: Final = 256
NODE: Final = "celery@%h"
"""Celery's usual name of a worker, from which each child makes its own."""


class Processes(click.ParamType[int]):
    """Parameter type for a number of processes, or ``auto`` for as many as there are processors."""

    name = "processes"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the number."""
        if value == "auto":
            from checkpoint_worker.worker.runtime.processes.cpus import usable_cpus  # noqa: PLC0415

            return min(usable_cpus(), PROCESSES_MAX)
        return click.IntRange(1, PROCESSES_MAX).convert(value, param, ctx)


class BeforeDashes(click.Command):
    """A command whose arguments all stand after ``--``, for another program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before ``--``; refuse an argument there."""
        cut = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:cut])
        if (stray := ctx.params["celery_options"]) and not ctx.resilient_parsing:
            msg = f"unexpected argument {stray[0]}; options of Celery follow `--`"
            raise click.UsageError(msg, ctx)
        ctx.params["celery_options"] = tuple(args[cut + 1 :])
        return rest


until_stdin_closes = click.option("--until-stdin-closes", is_flag=True, hidden=True)


@click.command(cls=BeforeDashes, context_settings={"ignore_unknown_options": False})
@click.option("--concurrency", "-c", type=click.IntRange(1), help="Verifications in flight.")
@click.option(
    "--log-level",
    "-l",
    type=click.Choice(("DEBUG", "INFO", "WARNING", "ERROR"), case_sensitive=False),
    help="In place of CHECKPOINT_LOG_LEVEL.",
)
@click.option(
    "--processes",
    default="1",
    show_default=True,
    type=Processes(),
    metavar="N|auto",
    help="Workers to run, one for each core; auto: by affinity and the container's CPU quota.",
)
@click.option("--child", type=int, hidden=True)
@until_stdin_closes
@click.argument("celery_options", nargs=-1, type=click.UNPROCESSED)
def worker(
    *,
    concurrency: int | None,
    log_level: str | None,
    processes: int,
    child: int | None,
    until_stdin_closes: bool,
    celery_options: tuple[str, ...],
) -> None:
    """Run a worker in this process, or several below it.

    The same as ``celery -A checkpoint_worker.worker worker -E``. What follows ``--`` goes to
    Celery as it is.
    With --processes N there are N workers with one health address and one drain; this process
    replaces those that die. --concurrency and Celery's options are those of each worker.

    \b
    Examples:
      checkpoint worker
      checkpoint worker --concurrency 5000 --log-level WARNING
      checkpoint worker --processes auto
      checkpoint worker -- --hostname east@%h --without-gossip
    """  # noqa: D301
    with sentences():
        # Not as Celery's option: it ignores WARNING, which is its default.
        if log_level is not None:
            os.environ["CHECKPOINT_LOG_LEVEL"] = log_level
        options = ["--concurrency", str(concurrency)] if concurrency else []
        if until_stdin_closes:
            from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

            end_with_stdin()
        if processes > 1 and child is None:
            from checkpoint_worker.worker.runtime.processes.supervisor import supervise  # noqa: PLC0415

            sys.exit(supervise(read_settings(), processes, [*options, "--", *celery_options]))
        settings = read_settings(tell_unknown=False)
        if child is not None:
            _become_child(child, settings)
            celery_options = ("--hostname", NODE, *celery_options)
        from checkpoint_worker.worker import celery  # noqa: PLC0415

        sys.exit(_run_celery(celery, ["-E", *options, *celery_options]))


def _become_child(number: int, settings: Settings) -> None:
    from checkpoint_worker.worker.runtime.lifetime import stop_bound_s  # noqa: PLC0415
    from checkpoint_worker.worker.runtime.processes.child import become  # noqa: PLC0415

    try:
        become(number, stop_bound_s(settings.deadline_s, settings.drain_s))
    except OSError:
        msg = "--child is for the processes that --processes starts"
        raise click.UsageError(msg) from None


def _run_celery(app: Celery, words: list[str]) -> int:
    """Run ``celery worker`` and return its exit status, which `Celery.worker_main` drops.

    The command alone: the group ``celery`` would import all of its commands and their libraries,
    among them Flower and an interactive prompt, a sixth of the time of a start.
    """
    from celery.bin.base import CLIContext  # noqa: PLC0415
    from celery.bin.worker import worker as program  # noqa: PLC0415

    program.params.extend(app.user_options["worker"] | app.user_options["preload"])
    no_color = bool(os.environ.get("NO_COLOR"))
    context = CLIContext(app, no_color=no_color, workdir=None, quiet=True)
    status: int | None = program.main(
        args=words, prog_name="celery worker", standalone_mode=False, obj=context
    )
    return status or 0
