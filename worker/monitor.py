"""Flower, set up for checkpoints: who may look, how much it keeps, what it may show.

``python -m checkpoint_worker.worker.monitor`` runs it with what ``worker/flowerconfig.py`` says; so does
``celery -A checkpoint_worker.worker.monitor flower --conf=…``. The app here knows the broker alone: a Flower needs
no secret key and gets none.

What Flower keeps is decided where an event comes in, not where a page is made, so that pages, the
API, the search and the state file show the same: account, provider, outcome. An event may say
more, for a plain Celery producer announces the code with its own ``task-sent``.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID

if TYPE_CHECKING:
    from celery import Celery

    celery: Celery

PASSWORD_MIN: Final = 12
"""Characters: what is shorter can be guessed over the network."""
LOGIN: Final = re.compile(rf"[!-9;-~]+:[!-~]{{{PASSWORD_MIN},}}")
"""``user:password`` in visible ASCII: Flower's comparison knows nothing else."""
DEFAULTS: Final[Mapping[str, object]] = {
    "address": "127.0.0.1",
    "max_tasks": 10_000,  # About 3 kB each.
    "max_workers": 500,
    "natural_time": True,
    "persistent": True,
    "purge_offline_workers": 3_600,  # Seconds; a restart gives a worker a new name.
    "state_save_interval": 60_000,  # Milliseconds; a kill -9 costs no more than that.
    "tasks_columns": "uuid,kwargs,state,result,received,started,runtime,worker",
}
"""Options of Flower, unless ``FLOWER_<NAME>`` is set."""
NO_LOGIN: Final = (
    "Flower shows who connects which account, so it does not start without a login: set "
    f"FLOWER_BASIC_AUTH=user:password (visible ASCII, the password {PASSWORD_MIN} characters or "
    "more; several with commas), or FLOWER_BASIC_AUTH_FILE to a file with such lines, or "
    "FLOWER_AUTH for OAuth 2. A password: openssl rand -hex 16"
)

TASK_FIELDS: Final = frozenset(
    {
        "type", "uuid", "hostname", "timestamp", "local_received", "clock", "utcoffset", "pid",
        "name", "root_id", "parent_id", "queue", "exchange", "routing_key", "retries", "runtime",
        "terminated", "signum", "expired",
    }
)  # fmt: skip
WORKER_FIELDS: Final = frozenset(
    {
        "type", "hostname", "timestamp", "local_received", "clock", "utcoffset", "pid", "freq",
        "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys",
    }
)  # fmt: skip
"""What is kept of an event as it is; Flower would keep any field that a sender thinks of."""
TEXT_MAX: Final = 4_096
"""Of a field, characters; Celery's own events stay far below."""
PLAIN: Final = re.compile(r"[\w.@:/+#*(){} -]{0,255}")
"""What a field of text may look like."""
OUTCOME: Final = re.compile(r"(?:SolveFailed\()?'([1-5]\d\d [A-Za-z_]{1,64})'\)?")
SUCCESSOR: Final = re.compile(r"canceled|superseded by [\w-]{1,128}")

Event = dict[str, Any]


# Options -------------------------------------------------------------------------------


def flower_options(environ: Mapping[str, str]) -> dict[str, object]:
    """Return Flower's options.

    Args:
        environ: ``FLOWER_*`` as Flower itself reads them, and ``FLOWER_BASIC_AUTH_FILE``.

    Raises:
        SystemExit: There is no login, or it is too weak; the text says what to do.
    """
    chosen = {name: each for name, each in DEFAULTS.items() if _variable(name) not in environ}
    if "FLOWER_DB" not in environ:  # systemd names the service's own directory.
        chosen["db"] = str(Path(environ.get("STATE_DIRECTORY", ".")) / "flower")
    logins = _logins(environ)
    if logins:
        chosen["basic_auth"] = logins
    elif not environ.get("FLOWER_AUTH"):
        raise SystemExit(NO_LOGIN)
    # Looking only: a submission is taken back by `checkpoint cancel`, which tells its caller.
    # Workers send events by themselves.
    return chosen | {"read_only": True, "enable_events": False, "format_task": format_task}


def _logins(environ: Mapping[str, str]) -> list[str]:
    text = environ.get("FLOWER_BASIC_AUTH", "")
    if path := environ.get("FLOWER_BASIC_AUTH_FILE"):
        try:
            text = ",".join((text, *Path(path).read_text("utf-8").split()))
        except (OSError, UnicodeDecodeError) as error:
            msg = f"FLOWER_BASIC_AUTH_FILE cannot be read ({type(error).__name__})"
            raise SystemExit(msg) from None
    logins = [each.strip() for each in text.split(",") if each.strip()]
    if not all(LOGIN.fullmatch(each) for each in logins):
        raise SystemExit(NO_LOGIN)
    return logins


def _variable(name: str) -> str:
    return f"FLOWER_{name.upper()}"


def configure() -> dict[str, object]:
    """Make this process a Flower as it should be; return its options for a configuration file.

    Raises:
        SystemExit: There is no login.
    """
    options = flower_options(os.environ)
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    os.umask(0o077)  # The state file names accounts.
    _guard()
    return options


def _guard() -> None:
    """Clean what comes in, and let nobody unknown see the metrics, whose labels name workers."""
    from flower.events import EventsState  # noqa: PLC0415  an extra
    from flower.views.monitor import Metrics  # noqa: PLC0415
    from tornado.web import authenticated  # noqa: PLC0415

    taken_in = EventsState.event

    def event(state: Any, event: Event) -> None:  # noqa: ANN401  Flower's
        cleaned = clean(event)
        if cleaned is not None:
            taken_in(state, cleaned)

    EventsState.event = event
    Metrics.get = authenticated(Metrics.get)


# What is shown -------------------------------------------------------------------------


def clean(event: Event) -> Event | None:
    """Return what Flower may know of an event, ``None`` if it is none that Celery sends.

    Arguments become account and provider; result and exception become the outcome, so that it
    stands in one column whatever the state; a traceback is for the worker's log.
    """
    kind = str(event.get("type"))
    if not kind.startswith("task-"):
        return _kept(event, WORKER_FIELDS) if kind.startswith("worker-") else None
    task_id = event.get("uuid")
    if not (isinstance(task_id, str) and SUBMISSION_ID.fullmatch(task_id)):
        return None
    kept = _kept(event, TASK_FIELDS)
    if kept is None:
        return None
    if "args" in event:
        kept["args"] = "()"
    if "kwargs" in event:
        kept["kwargs"] = repr(_whose(event["kwargs"]))
    if "exception" in event:
        kept["exception"] = kept["result"] = _said(event["exception"])
    elif "result" in event:
        kept["result"] = _outcome(event["result"])
    return kept


def _kept(event: Event, names: frozenset[str]) -> Event | None:
    """Return the named fields; ``None`` if one is not as Celery writes it."""
    kept = {name: value for name, value in event.items() if name in names}
    fine = isinstance(kept.get("hostname"), str) and all(map(_is_plain, kept.values()))
    return kept if fine else None


def _is_plain(value: object) -> bool:
    match value:
        case str():
            return bool(PLAIN.fullmatch(value))
        case list():  # The load of a machine.
            return all(isinstance(each, (int, float)) for each in value)
    return value is None or isinstance(value, (int, float))


def _whose(arguments: object) -> dict[str, str]:
    """Return account and provider of a task's arguments as Celery writes them, a repr."""
    text = arguments if isinstance(arguments, str) and len(arguments) <= TEXT_MAX else ""
    try:
        given = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    names = ("account_id", "provider")
    # A plain producer may send any text as an account; here it is for people and their browsers.
    return {
        name: re.sub(r"[^\w.@:+-]", "?", given[name])[:128]
        for name in names
        if isinstance(given.get(name), str)
    }


def _said(exception: object) -> str:
    """Return what an exception says of the outcome, else its class."""
    text = str(exception)[:TEXT_MAX]
    if SUCCESSOR.fullmatch(text):
        return text
    named = re.match(r"\w{1,64}(?=\()", text)
    return _outcome(text) or (named[0] if named else "")


def _outcome(result: object) -> str:
    """Return status and type, as ``tasks.celery_task.task`` says them; empty: it says something else."""
    found = OUTCOME.fullmatch(str(result))
    return found[1] if found else ""


def format_task(task: Any) -> Any:  # noqa: ANN401  Celery's state of a task
    """Return a task as Flower's pages show it: account and provider as people write them."""
    whose = _whose(task.kwargs)
    task.kwargs = " ".join(whose[name] for name in ("provider", "account_id") if name in whose)
    task.args = ""
    return task


# Running -------------------------------------------------------------------------------


def make_monitor() -> Celery:
    """Return a Celery app that knows the broker and no secret key.

    Raises:
        ValidationError: A setting does not fit.
    """
    from checkpoint_worker.tasks.operations.celery_app import OwnCelery, forget_foreign  # noqa: PLC0415  commands stay light
    from checkpoint_worker.tasks.operations.wake import celery_config  # noqa: PLC0415
    from checkpoint_worker.tasks.settings import Settings  # noqa: PLC0415
    from checkpoint_worker.worker.runtime.monitor_transports import install  # noqa: PLC0415

    if foreign := forget_foreign():
        sys.stderr.write(f"checkpoint: of another Celery, not used: {', '.join(foreign)}\n")
    app = OwnCelery()
    config = celery_config(Settings())
    app.conf.update(config | {"broker_transport": None})
    install(clustered="cluster" in config["broker_transport_options"])
    return app


def __getattr__(name: str) -> Any:  # noqa: ANN401  the module protocol's signature
    if name != "celery":
        raise AttributeError(name)
    globals()["celery"] = app = make_monitor()
    return app


def main(options: list[str]) -> None:
    """Run Flower until it is told to stop.

    Args:
        options: Flower's own, such as ``--port=5555``; before them ``--until-stdin-closes``.
    """
    if options[:1] == ["--until-stdin-closes"]:
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

        del options[0]
        end_with_stdin()
    if importlib.util.find_spec("flower") is None:
        msg = "Flower is not installed: pip install 'checkpoint-worker[flower]'"
        raise SystemExit(msg)
    conf = Path(__file__).with_name("flowerconfig.py")
    make_monitor().start(["flower", f"--conf={conf}", *options])


__all__ = ["clean", "configure", "flower_options", "format_task", "main", "make_monitor"]

if __name__ == "__main__":
    main(sys.argv[1:])
