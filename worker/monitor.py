"""Flower, configured for checkpoints: who may read it, how much it keeps, and what it may show.

``python -m checkpoint_worker.worker.monitor`` runs it with the options of
``worker/flowerconfig.py``; so does ``celery -A checkpoint_worker.worker.monitor flower --conf=…``.
The app of this module knows only the broker: Flower needs no secret key and gets none.

Events are cleaned when they arrive, not when a page is rendered, so that pages, the API, the search
and the state file contain the same data: account, provider, outcome. An event may contain more,
because a plain Celery producer publishes the code in its own ``task-sent`` event.
"""

from __future__ import annotations

import ast
import errno
import functools
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID
from checkpoint_worker.worker.cli.commands.common import end_with_sentence
from checkpoint_worker.worker.runtime.stop_signals import program

if TYPE_CHECKING:
    from celery import Celery

    celery: Celery

CANNOT_LISTEN: Final = (errno.EACCES, errno.EADDRINUSE, errno.EADDRNOTAVAIL)
PASSWORD_MIN: Final = 12
"""Shortest password, in characters: a shorter one can be guessed over the network."""
LOGIN: Final = re.compile(rf"[!-9;-~]+:[!-~]{{{PASSWORD_MIN},}}")
"""``user:password`` in visible ASCII: Flower cannot compare other characters."""
DEFAULTS: Final[Mapping[str, object]] = {
    "address": "127.0.0.1",
    "max_tasks": 10_000,  # About 3 kB each.
    "max_workers": 500,
    "natural_time": True,
    "persistent": True,
    "purge_offline_workers": 3_600,  # Seconds; a restarted worker has a new name.
    "state_save_interval": 60_000,  # Milliseconds; a SIGKILL loses no more than that.
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
"""Fields of an event that are kept unchanged; Flower would keep any field of a sender."""
TEXT_MAX: Final = 4_096
"""Longest field, in characters; Celery's own events stay far below."""
PLAIN: Final = re.compile(r"[\w.@:/+#*(){} -]{0,255}")
"""Pattern of a text field."""
OUTCOME: Final = re.compile(r"(?:SolveFailed\()?'([1-5]\d\d [A-Za-z_]{1,64})'\)?")
SUCCESSOR: Final = re.compile(r"canceled|superseded by [\w-]{1,128}")

Event = dict[str, Any]


# Options -------------------------------------------------------------------------------


def flower_options(environ: Mapping[str, str]) -> dict[str, object]:
    """Return Flower's options.

    Args:
        environ: ``FLOWER_*`` as Flower itself reads them, and ``FLOWER_BASIC_AUTH_FILE``.

    Raises:
        SystemExit: The login is missing or too weak; the text names the remedy.
    """
    chosen = {name: each for name, each in DEFAULTS.items() if _variable(name) not in environ}
    if "FLOWER_DB" not in environ:  # systemd names the service's own directory.
        chosen["db"] = str(Path(environ.get("STATE_DIRECTORY", ".")) / "flower")
    logins = _logins(environ)
    if logins:
        chosen["basic_auth"] = logins
    elif not environ.get("FLOWER_AUTH"):
        raise SystemExit(NO_LOGIN)
    # Read only: `checkpoint cancel` takes a submission back and gives its caller an outcome.
    # Workers send events without a request.
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
    """Configure Flower in this process; return its options for a configuration file.

    Raises:
        SystemExit: There is no login.
    """
    options = flower_options(os.environ)
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    os.umask(0o077)  # The state file contains account names.
    _patch_flower()
    return options


def _configure_without_file() -> None:
    """Configure Flower before it looks for ``--conf``, which may be forgotten.

    It would show every page without a login, on each address of the machine, and the codes that
    plain producers publish in their events.

    Raises:
        SystemExit: There is no login.
    """
    import flower.options  # noqa: F401, PLC0415  defines the options
    from tornado.options import options  # noqa: PLC0415

    for name, value in configure().items():
        setattr(options, name, value)


@functools.cache
def _patch_flower() -> None:
    """Clean incoming events, and require a login for the metrics, whose labels name workers."""
    from flower.events import EventsState  # noqa: PLC0415  installed by an extra
    from flower.views.monitor import Metrics  # noqa: PLC0415
    from tornado.web import authenticated  # noqa: PLC0415

    original = EventsState.event

    def event(state: Any, event: Event) -> None:  # noqa: ANN401  Flower's
        cleaned = clean(event)
        if cleaned is not None:
            original(state, cleaned)

    EventsState.event = event
    Metrics.get = authenticated(Metrics.get)


# Displayed data ------------------------------------------------------------------------


def clean(event: Event) -> Event | None:
    """Return the part of an event that Flower may keep, ``None`` if Celery sends no such event.

    Arguments become account and provider. Result and exception become the outcome, so that one
    column shows it in every state. A traceback belongs in the worker's log and is dropped.
    """
    kind = str(event.get("type"))
    if not kind.startswith("task-"):
        return _select(event, WORKER_FIELDS) if kind.startswith("worker-") else None
    task_id = event.get("uuid")
    if not (isinstance(task_id, str) and SUBMISSION_ID.fullmatch(task_id)):
        return None
    kept = _select(event, TASK_FIELDS)
    if kept is None:
        return None
    if "args" in event:
        kept["args"] = "()"
    if "kwargs" in event:
        kept["kwargs"] = repr(_account_and_provider(event["kwargs"]))
    if "exception" in event:
        kept["exception"] = kept["result"] = _outcome_of_exception(event["exception"])
    elif "result" in event:
        kept["result"] = _outcome(event["result"])
    return kept


def _select(event: Event, names: frozenset[str]) -> Event | None:
    """Return the named fields, ``None`` if one is malformed."""
    kept = {name: value for name, value in event.items() if name in names}
    fine = isinstance(kept.get("hostname"), str) and all(map(_is_plain, kept.values()))
    return kept if fine else None


def _is_plain(value: object) -> bool:
    match value:
        case str():
            return bool(PLAIN.fullmatch(value))
        case list():  # The load averages of a machine.
            return all(isinstance(each, (int, float)) for each in value)
    return value is None or isinstance(value, (int, float))


def _account_and_provider(arguments: object) -> dict[str, str]:
    """Return account and provider from a task's arguments, which Celery writes as a repr."""
    text = arguments if isinstance(arguments, str) and len(arguments) <= TEXT_MAX else ""
    try:
        given = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    names = ("account_id", "provider")
    # A plain producer may send any text as an account, and a browser displays it.
    return {
        name: re.sub(r"[^\w.@:+-]", "?", given[name])[:128]
        for name in names
        if isinstance(given.get(name), str)
    }


def _outcome_of_exception(exception: object) -> str:
    """Return the outcome that an exception of the task names, else the exception's class."""
    text = str(exception)[:TEXT_MAX]
    if SUCCESSOR.fullmatch(text):
        return text
    named = re.match(r"\w{1,64}(?=\()", text)
    return _outcome(text) or (named[0] if named else "")


def _outcome(result: object) -> str:
    """Return status and type from the text of `tasks.celery_task.task`, empty for other texts."""
    found = OUTCOME.fullmatch(str(result))
    return found[1] if found else ""


def format_task(task: Any) -> Any:  # noqa: ANN401  Celery's state of a task
    """Return a task as Flower's pages show it, with provider and account in one text."""
    whose = _account_and_provider(task.kwargs)
    task.kwargs = " ".join(whose[name] for name in ("provider", "account_id") if name in whose)
    task.args = ""
    return task


# The program ---------------------------------------------------------------------------


def make_monitor() -> Celery:
    """Return a Celery app that knows the broker and no secret key.

    Raises:
        ValidationError: A setting is invalid.
    """
    from checkpoint_worker.tasks.operations.celery_app import OwnCelery  # noqa: PLC0415  Flower's configuration must not import it
    from checkpoint_worker.tasks.operations.foreign import forget_foreign  # noqa: PLC0415
    from checkpoint_worker.tasks.operations.wake import celery_config  # noqa: PLC0415
    from checkpoint_worker.tasks.settings import Settings  # noqa: PLC0415
    from checkpoint_worker.worker.runtime.monitor_transports import install  # noqa: PLC0415

    if foreign := forget_foreign():
        sys.stderr.write(f"checkpoint: of other programs, not used: {', '.join(foreign)}\n")
    app = OwnCelery()
    config = celery_config(Settings())
    app.conf.update(config | {"broker_transport": None})
    install(clustered="cluster" in config["broker_transport_options"])
    return app


def __getattr__(name: str) -> Any:  # noqa: ANN401  the module protocol's signature
    if name != "celery":
        raise AttributeError(name)
    is_celery = program(sys.argv, sys.orig_argv) == "celery"
    if is_celery and "flower" in sys.argv and importlib.util.find_spec("flower"):
        _configure_without_file()
    try:
        app = make_monitor()
    except Exception as error:
        if is_celery:
            end_with_sentence(error)  # Celery would print a traceback.
        raise
    globals()["celery"] = app
    return app


def main(options: list[str]) -> None:
    """Run Flower until it is stopped.

    Args:
        options: Flower's own options, such as ``--port=5555``; ``--until-stdin-closes`` before
            them.
    """
    if options[:1] == ["--until-stdin-closes"]:
        from checkpoint_worker.worker.runtime.lifetime import end_with_stdin  # noqa: PLC0415

        del options[0]
        end_with_stdin()
    if importlib.util.find_spec("flower") is None:
        msg = "Flower is not installed: pip install 'checkpoint-worker[flower]'"
        raise SystemExit(msg)
    conf = Path(__file__).with_name("flowerconfig.py")
    try:
        app = make_monitor()
    except Exception as error:
        end_with_sentence(error)
        raise
    try:
        app.start(["flower", f"--conf={conf}", *options])
    except OSError as error:
        if error.errno not in CANNOT_LISTEN:
            raise
        msg = f"Flower cannot listen ({error.strerror}): set another FLOWER_PORT or FLOWER_ADDRESS"
        raise SystemExit(msg) from None


if __name__ == "__main__":
    main(sys.argv[1:])
