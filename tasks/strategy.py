"""What happens to a message before Celery makes a request of it.

A plain Celery producer may put the code into the task's arguments, and Celery would copy it
into events, ``inspect`` and its own DEBUG log. So the code is taken out and sealed here, in
the consumer's thread, before anything of Celery has seen the arguments.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from celery import Celery
from celery.worker.strategy import default

from tasks.client import make_vault
from tasks.settings import Settings
from tasks.vault import Vault, solution_name

ARGUMENTS: Final = ("account_id", "provider", "code")
"""What a producer may send, in the order of a positional call."""


def careful(task: Any, app: Celery, consumer: Any, **options: Any) -> Callable[..., Any]:  # noqa: ANN401  Celery's
    """Return Celery's default strategy behind one that seals the code of a raw producer."""
    settings: Settings = app.conf.checkpoint_settings
    vault = make_vault(settings)
    proceed: Callable[..., Any] = default(task, app, consumer, **options)

    def receive(message: Any, _body: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401  Celery's
        cleanse(message, vault)
        return proceed(message, None, *rest, **more)

    return receive


def cleanse(message: Any, vault: Vault) -> None:  # noqa: ANN401  kombu's
    """Rewrite a task message so that it carries no code in clear.

    Args:
        message: kombu's message; its body, headers and decoded payload are replaced.
        vault: Seals the code for the submission the message names.

    Raises:
        ValueError: The body is not ``[args, kwargs, embed]`` of protocol 2.
    """
    payload = message.payload
    if not (isinstance(payload, (list, tuple)) and len(payload) == 3):  # noqa: PLR2004  protocol 2
        msg = "not a task of protocol 2"
        raise ValueError(msg)
    args, kwargs, embed = payload
    given = dict(zip(ARGUMENTS, args or (), strict=False)) | dict(kwargs or {})
    kept = {name: given.get(name) for name in ("account_id", "provider")}
    shown = repr({name: str(value)[:128] for name, value in kept.items()})
    if "code" in given:
        name = solution_name(str(kept["provider"]), str(kept["account_id"]), _id(message))
        # As JSON: a number is not a string, and the difference is the producer's error.
        kept["sealed"] = vault.seal(name, json.dumps(given["code"]).encode())
    text = json.dumps([[], kept, embed])
    message.body = text.encode() if isinstance(message.body, bytes) else text
    message._decoded_cache = json.loads(text)  # noqa: SLF001  kombu keeps what it decoded
    message.content_encoding = "utf-8"
    message.headers.update(argsrepr="()", kwargsrepr=shown)


def _id(message: Any) -> str:  # noqa: ANN401  kombu's
    return str(message.headers.get("id"))
