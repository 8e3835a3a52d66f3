"""Effect of each option of ``celery worker``: accepted, or refused before the worker starts.

A checkpoint worker has a fixed pool, one queue and its own time limits, so it cannot honour every
option of Celery. An option accepted without effect would cause faults later, with codes in flight.
`OPTIONS` lists every option; an option that it does not list is refused too, such as one that a
later version of Celery adds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from celery import Celery
from celery.bin.worker import worker as celery_worker
from celery.utils.nodenames import default_nodename, node_format
from click.core import ParameterSource

from checkpoint_worker.worker.runtime.processes.child import CHILD
from checkpoint_worker.worker.runtime.stop_signals import program


@dataclass(frozen=True, slots=True)
class Option:
    """One option of Celery.

    Attributes:
        about: The effect of the option here, or the alternative to an option that is refused.
        fits: Decides whether a value is accepted; ``None`` accepts each value.
        needs: The condition under which a value is accepted, if only some values are.
    """

    about: str
    fits: Callable[[click.Context, Any], bool] | None = None
    needs: str = ""


def _never(_ctx: click.Context, _value: Any) -> bool:  # noqa: ANN401  any option's
    return False


def _own_queue(ctx: click.Context, value: Sequence[str]) -> bool:
    return list(value) == [ctx.obj.app.conf.task_default_queue]


def _can_detach(ctx: click.Context, value: bool) -> bool:  # noqa: FBT001  a flag's
    """Return whether Celery can detach: it finds the flag to remove it, and a log file is named.

    Celery removes ``--uid`` and ``--gid`` from the new command line but leaves their values in it.
    """
    given = ctx.params
    alone = "-D" in sys.argv or "--detach" in sys.argv
    drops = given.get("uid") or given.get("gid")
    by_celery = program(sys.argv, sys.orig_argv) == "celery"
    return not value or (by_celery and alone and bool(given.get("logfile")) and not drops)


def _writable(ctx: click.Context, value: str) -> bool:
    # Celery applies the default later.
    hostname = ctx.params.get("hostname") or default_nodename(None)
    try:
        with Path(node_format(value, hostname)).open("ab"):
            return True
    except OSError:
        return False


def _pidfile(ctx: click.Context, value: str) -> bool:
    """Return whether the file can be made; with ``--processes`` each child needs its own."""
    hostname = ctx.params.get("hostname") or default_nodename(None)
    folder = Path(node_format(value, hostname)).absolute().parent
    return os.access(folder, os.W_OK | os.X_OK) and (CHILD.number is None or "%n" in value)


_PLACES: Final = "CHECKPOINT_CONCURRENCY bounds what is in flight"
_TIMES: Final = "the deadline and the provider's time are settings (`checkpoint config`)"
_NO_CHILDREN: Final = "one process does all the work; bound its memory where it is started"
_NO_BEAT: Final = "there are no periodic tasks: every worker sweeps"
_QUEUE: Final = "a worker serves that queue and no other"
_START: Final = "say so where the worker is started"

CONCURRENCY_MAX: Final = 10_000
"""The largest value of CHECKPOINT_CONCURRENCY."""

OPTIONS: Final[Mapping[str, Option]] = {
    # Options of `celery` itself.
    "app": Option("`-A checkpoint_worker.worker`"),
    "broker": Option("set CHECKPOINT_BROKER_URL or CHECKPOINT_REDIS_URL", _never),
    "result_backend": Option("outcomes are records in the ledger", _never),
    "loader": Option("settings are the variables CHECKPOINT_*", _never),
    "config": Option("settings are the variables CHECKPOINT_*", _never),
    "workdir": Option("the working directory"),
    "no_color": Option("no colours on a terminal"),
    "quiet": Option("no banner"),
    "version": Option("Celery's version"),
    "skip_checks": Option("no effect: the checks are Django's"),
    # Options of `celery worker`.
    "hostname": Option("the name in Flower and in `inspect`"),
    "detach": Option(
        "runs in the background, as with `celery multi`",
        _can_detach,
        "it needs `celery -A checkpoint_worker.worker worker -D --logfile=FILE`, without --uid"
        " and --gid",
    ),
    "statedb": Option("`revoke` is refused here; the ledger holds all state", _never),
    "loglevel": Option("in place of CHECKPOINT_LOG_LEVEL"),
    "optimization": Option("no effect: a code never waits for one of several processes"),
    "prefetch_multiplier": Option("1, as always", lambda _, value: bool(value == 1), _PLACES),
    "disable_prefetch": Option(_PLACES, _never),
    "concurrency": Option(
        "in place of CHECKPOINT_CONCURRENCY; 0: as that says",
        lambda _, value: isinstance(value, int) and 0 < value <= CONCURRENCY_MAX,
        f"it needs a number up to {CONCURRENCY_MAX}",
    ),
    "pool": Option("a checkpoint worker runs in its own pool alone: leave out -P", _never),
    "task_events": Option("events are always sent: Flower lives on them"),
    "time_limit": Option(_TIMES, _never),
    "soft_time_limit": Option(_TIMES, _never),
    "max_tasks_per_child": Option(_NO_CHILDREN, _never),
    "pool_start_method": Option(_NO_CHILDREN, _never),
    "max_memory_per_child": Option(_NO_CHILDREN, _never),
    "purge": Option(
        "the queue holds codes and wakes; `checkpoint cancel` takes a submission back", _never
    ),
    "queues": Option("the queue of CHECKPOINT_PREFIX", _own_queue, _QUEUE),
    "exclude_queues": Option("a worker serves the queue of CHECKPOINT_PREFIX", _never),
    "include": Option("imported at the start, for handlers of Celery's signals"),
    "without_gossip": Option("no effect: workers learn of each other from the ledger"),
    "without_mingle": Option("no effect: workers learn of each other from the ledger"),
    "without_heartbeat": Option("Flower shows the worker as offline; the ledger's beat goes on"),
    "heartbeat_interval": Option("seconds between the beats that Flower sees"),
    "autoscale": Option(_PLACES, _never),
    "beat": Option(_NO_BEAT, _never),
    "schedule_filename": Option(_NO_BEAT, _never),
    "scheduler": Option(_NO_BEAT, _never),
    "logfile": Option(
        "a file for the log, opened anew after it was moved away",
        _writable,
        "it needs a file that can be written",
    ),
    "pidfile": Option(
        "the file is gone after the end",
        _pidfile,
        "it needs a folder that can be written; with `--processes` its name needs `%n`",
    ),
    "uid": Option("the user to run as, for root"),
    "gid": Option("the group to run as, for root"),
    "umask": Option(_START, _never),
    "executable": Option(_START, _never),
}
"""Maps the name of a parameter to its effect, in the order of ``celery --help``."""


class OwnPool(click.ParamType[str]):
    """Parameter type that accepts only our pool; Celery's type would import any other."""

    name = "pool"

    def convert(
        self,
        value: Any,  # noqa: ANN401  click's
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return our pool and ignore defaults and environment variables that name another."""
        assert ctx is not None
        ours: str = ctx.obj.app.conf.worker_pool
        if value != ours and ctx.get_parameter_source("pool") is ParameterSource.COMMANDLINE:
            self.fail(f"`{value}` is refused: {OPTIONS['pool'].about}", param, ctx)
        return ours


def check_command_line(app: Celery) -> None:
    """Register the check of the options of ``celery worker``, which runs after they are parsed."""
    for param in celery_worker.params:
        if param.name == "pool":
            param.type = OwnPool()
    # Celery appends these parameters to its command. An argument is parsed after all options.
    app.user_options["worker"].add(
        click.Argument(["words"], nargs=-1, expose_value=False, callback=_check)
    )


def _check(ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> None:
    """Refuse options and arguments that have no effect here.

    Raises:
        UsageError: An option is refused; the text is one sentence, the exit status 2.
    """
    if words:
        msg = "configuration of Celery is refused on the command line: settings are CHECKPOINT_*"
        raise click.UsageError(msg, ctx)
    for each in (ctx.parent, ctx):
        _check_given(each)
    if CHILD.number is not None:  # `checkpoint worker` gives each child a name.
        ctx.params["hostname"] = CHILD.node_name(ctx.params["hostname"])
    if ctx.get_parameter_source("loglevel") is ParameterSource.COMMANDLINE:
        ctx.obj.app.conf.checkpoint_log_level = ctx.params["loglevel"]


def check_before_app() -> None:
    """Refuse options of ``celery`` itself, some of which prevent the creation of an app.

    Raises:
        UsageError: An option is refused, as for ``celery worker``.
    """
    _check_given(click.get_current_context(silent=True))


def _check_given(ctx: click.Context | None) -> None:
    if ctx is not None and _is_celery_s(ctx.command):
        for param in ctx.command.params:
            if ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE:
                _check_one(ctx, param)


def _is_celery_s(command: click.Command) -> bool:
    """Return whether a command is ``celery worker`` or ``celery``, which is not imported for it."""
    module = getattr(command.callback, "__module__", None)
    return command is celery_worker or module == "celery.bin.celery"


def _check_one(ctx: click.Context, param: click.Parameter) -> None:
    option, name = OPTIONS.get(param.name or ""), "/".join(param.opts)
    if option is None:
        msg = f"{name} is refused: it is not known here"
        raise click.UsageError(msg, ctx)
    if option.fits is not None and not option.fits(ctx, ctx.params.get(param.name or "")):
        msg = f"{name} is refused: {option.needs or option.about}"
        raise click.UsageError(msg, ctx)
