"""What happens to a message before Celery makes a request of it.

A plain Celery producer may put the code into the task's arguments, and Celery would copy it
into events, ``inspect`` and its own DEBUG log. So the code is taken out and sealed here, in
the consumer's thread, before anything of Celery has seen the arguments. A message that is no
task of ours is rejected here as well: most of what Celery raises over one ends the worker, and
what it logs quotes the body.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from celery import Celery
from celery.worker.strategy import default

from checkpoint_worker.tasks.celery_task.message_options import REFUSALS, passed_on, refusal
from checkpoint_worker.tasks.client import make_vault
from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID
from checkpoint_worker.tasks.operations.wake import task_headers
from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.tasks.storage.vault import Vault, solution_name

ARGUMENTS: Final = ("account_id", "provider", "code")
"""What a producer may send, in the order of a positional call."""
WAKE: Final = frozenset(ARGUMENTS[:2])
"""What a wake says."""
SHOWN_MAX: Final = 128
"""Characters of a value that Celery shows."""

log = structlog.get_logger("checkpoint.strategy")


def sanitizing_strategy(
    task: Any, app: Celery, consumer: Any, **options: Any
) -> Callable[..., Any]:  # noqa: ANN401  Celery's
    """Return Celery's default strategy behind one that seals the code of a raw producer."""
    settings: Settings = app.conf.checkpoint_settings
    vault = make_vault(settings)
    proceed: Callable[..., Any] = default(task, app, consumer, **options)

    def receive(message: Any, _body: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401  Celery's
        try:
            seal_code(message, vault, settings.deadline_s)
        except Exception as error:  # noqa: BLE001  a stranger's message; its text stays out
            kind = type(error).__name__
        else:
            return proceed(message, None, *rest, **more)
        log.warning("wake.malformed", error=kind)
        # With RabbitMQ as broker this is the way to the dead letters.
        message.reject_log_error(logging.getLogger(__name__), consumer.connection_errors)
        return None

    return receive


def seal_code(message: Any, vault: Vault, deadline_s: float = 0.0) -> None:  # noqa: ANN401  kombu's
    """Rewrite a task message so that it carries no code in clear, and no option of its producer.

    What cannot be a submission although it has an id of one goes on as a refusal: its producer
    has no other way to hear of it than the outcome.

    Args:
        message: kombu's message; its body, headers and decoded payload are replaced.
        vault: Seals the code for the submission the message names.
        deadline_s: Of a submission.

    Raises:
        ValueError: The id is none that a submission can have.
    """
    submission_id, payload, refused = _read(message)
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        msg = "not the id of a submission"
        raise ValueError(msg)
    args, kwargs, embed = payload
    if refused is None and _is_wake(args, kwargs, embed):
        _head(message, submission_id, repr(kwargs), passed_on(message.headers))
        return
    given = dict(zip(ARGUMENTS, args or (), strict=False)) | dict(kwargs or {})
    kept = {name: _encodable(given.get(name)) for name in ("account_id", "provider")}
    shown = repr({name: str(value)[:SHOWN_MAX] for name, value in kept.items()})
    code, send_by_ms = given.get("code"), given.get("send_by_ms")
    if "code" in given and refused is None:
        refused, send_by_ms = refusal(
            message.headers, embed, now_s=time.time(), deadline_s=deadline_s
        )
        name = solution_name(str(kept["provider"]), str(kept["account_id"]), submission_id)
        # As JSON: a number is not a string, and the difference is the producer's error.
        kept["sealed"] = vault.seal(name, json.dumps(code).encode())
    elif isinstance(given.get("sealed"), str):
        # Put back by a worker that had sealed it; somebody else's does not open.
        kept["sealed"] = given["sealed"]
        refused = given["refused"] if given.get("refused") in REFUSALS else None
    if refused is not None:
        kept["refused"] = refused
    elif isinstance(send_by_ms, int):
        kept["send_by_ms"] = send_by_ms
    text = json.dumps([[], kept, {}])
    message.body = text.encode() if isinstance(message.body, bytes) else text
    message._decoded_cache = json.loads(text)  # noqa: SLF001  kombu keeps what it decoded
    message.content_type, message.content_encoding = "application/json", "utf-8"
    _head(message, submission_id, shown, passed_on(message.headers, code))


def _read(message: Any) -> tuple[object, tuple[Any, Any, Any], str | None]:  # noqa: ANN401  kombu's
    """Return the id of a message, what its body says, and why it is refused, if it is."""
    submission_id = message.headers.get("id")
    nothing: tuple[Any, Any, Any] = ((), {}, {})
    if (unfit := getattr(message, "unfit", None)) is not None:
        return submission_id, nothing, unfit
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001  kombu raises anything over a body
        return submission_id, nothing, "body"
    if isinstance(payload, dict) and submission_id is None:
        return payload.get("id"), nothing, "protocol"
    match payload:
        case [list() | tuple() | None as args, dict() | None as kwargs, embed]:
            return submission_id, (args, kwargs, embed), None
    return submission_id, nothing, "body"


def _head(message: Any, submission_id: str, shown: str, own: dict[str, Any]) -> None:  # noqa: ANN401  kombu's
    """Replace the headers by those that a wake has, and the producer's own."""
    message.headers.clear()
    message.headers.update(task_headers(submission_id, shown), **own)


def _is_wake(args: object, kwargs: object, embed: object) -> bool:
    """Whether there is nothing to take out or to mend: so are those that we write ourselves."""
    if args != [] or not isinstance(kwargs, dict) or not isinstance(embed, dict):
        return False
    return kwargs.keys() == WAKE and all(map(_is_plain, kwargs.values()))


def _is_plain(value: object) -> bool:
    """Whether it is short text that any encoding can carry."""
    return isinstance(value, str) and len(value) <= SHOWN_MAX and value.isascii()


def _encodable(value: object) -> object:
    """Return text without half surrogate pairs: JSON can carry them, Redis cannot.

    Of an object only that it is one: kombu reads some as instances of Python's classes, or fails.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return value if value is None or isinstance(value, int | float) else []
