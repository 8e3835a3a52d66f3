"""The sanitiser: rewrites a task message before Celery makes a request of it.

A plain Celery producer may put the code into the task's arguments, and Celery would copy it into
events, ``inspect`` and its own DEBUG log. So the sanitiser takes the code out and seals it, in the
consumer's thread, before Celery reads the arguments. It also rejects a message that cannot be a
submission: most exceptions that Celery raises for such a message end the worker, and its log lines
quote the body.
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
"""Arguments that a producer may send, in the order of a positional call."""
WAKE: Final = frozenset(ARGUMENTS[:2])
"""Arguments of a wake."""
SHOWN_MAX: Final = 128
"""Maximum number of characters of a value that Celery shows."""

log = structlog.get_logger("checkpoint.strategy")


def sanitizing_strategy(
    task: Any,  # noqa: ANN401  Celery's
    app: Celery,
    consumer: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> Callable[..., Any]:
    """Return Celery's default strategy behind one that seals the code of a raw producer."""
    settings: Settings = app.conf.checkpoint_settings
    vault = make_vault(settings)
    proceed: Callable[..., Any] = default(task, app, consumer, **options)

    def receive(message: Any, _body: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401  Celery's
        try:
            seal_code(message, vault, settings.deadline_s)
        except Exception as error:  # noqa: BLE001  an unknown message; its text is not logged
            kind = type(error).__name__
        else:
            return proceed(message, None, *rest, **more)
        log.warning("wake.malformed", error=kind)
        # With RabbitMQ as broker this sends the message to the dead letters.
        message.reject_log_error(logging.getLogger(__name__), consumer.connection_errors)
        return None

    return receive


def seal_code(message: Any, vault: Vault, deadline_s: float = 0.0) -> None:  # noqa: ANN401  kombu's
    """Rewrite a task message so that it carries no code in clear, and no option of its producer.

    A message with a valid submission id and an invalid body is rewritten to a refusal, because its
    producer learns of the fault only through the outcome.

    Args:
        message: kombu's message; its body, headers and decoded payload are replaced.
        vault: Seals the code for the submission that the message names.
        deadline_s: Maximum time from acceptance to outcome of a submission.

    Raises:
        ValueError: The id is no valid submission id.
    """
    submission_id, payload, refused = _read(message)
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        msg = "not the id of a submission"
        raise ValueError(msg)
    args, kwargs, embed = payload
    if refused is None and _is_wake(args, kwargs, embed):
        _replace_headers(message, submission_id, repr(kwargs), passed_on(message.headers))
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
        # As JSON, which keeps a number distinct from a string: a number is a producer's error.
        kept["sealed"] = vault.seal(name, json.dumps(code).encode())
    elif isinstance(given.get("sealed"), str):
        # A worker has sealed it and returned the message; a forged value does not open.
        kept["sealed"] = given["sealed"]
        refused = given["refused"] if given.get("refused") in REFUSALS else None
    if refused is not None:
        kept["refused"] = refused
    elif isinstance(send_by_ms, int):
        kept["send_by_ms"] = send_by_ms
    text = json.dumps([[], kept, {}])
    message.body = text.encode() if isinstance(message.body, bytes) else text
    message._decoded_cache = json.loads(text)  # noqa: SLF001  kombu caches the decoded body
    message.content_type, message.content_encoding = "application/json", "utf-8"
    _replace_headers(message, submission_id, shown, passed_on(message.headers, code))


def _read(message: Any) -> tuple[object, tuple[Any, Any, Any], str | None]:  # noqa: ANN401  kombu's
    """Return the id of a message, the parts of its body, and the word of its refusal, if any."""
    submission_id = message.headers.get("id")
    nothing: tuple[Any, Any, Any] = ((), {}, {})
    if (unfit := getattr(message, "unfit", None)) is not None:
        return submission_id, nothing, unfit
    try:
        payload = message.payload
    except Exception:  # noqa: BLE001  kombu raises many types for a body
        return submission_id, nothing, "body"
    if isinstance(payload, dict) and submission_id is None:
        return payload.get("id"), nothing, "protocol"
    match payload:
        case [list() | tuple() | None as args, dict() | None as kwargs, embed]:
            return submission_id, (args, kwargs, embed), None
    return submission_id, nothing, "body"


def _replace_headers(message: Any, submission_id: str, shown: str, own: dict[str, Any]) -> None:  # noqa: ANN401  kombu's
    """Replace the headers by those of a wake and the producer's own headers."""
    message.headers.clear()
    message.headers.update(task_headers(submission_id, shown), **own)


def _is_wake(args: object, kwargs: object, embed: object) -> bool:
    """Whether the message is a plain wake, which needs no change except for its headers."""
    if args != [] or not isinstance(kwargs, dict) or not isinstance(embed, dict):
        return False
    return kwargs.keys() == WAKE and all(map(_is_plain, kwargs.values()))


def _is_plain(value: object) -> bool:
    """Whether the value is a short ASCII text."""
    return isinstance(value, str) and len(value) <= SHOWN_MAX and value.isascii()


def _encodable(value: object) -> object:
    """Return a value that JSON and Redis can carry.

    Halves of surrogate pairs are replaced, because Redis cannot store them. An object becomes an
    empty list, because kombu decodes some objects as instances of Python classes, or fails.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    return value if value is None or isinstance(value, int | float) else []
