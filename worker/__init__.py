"""The process around the job: Celery app, pool, listener, sweeper, logs, command line.

``celery -A worker worker`` finds `celery` here. It is made when it is first asked for, so that
light commands import nothing heavy.
"""

from __future__ import annotations

from checkpoint_worker.worker.runtime import (
    stop_signals,  # First of all: from here on a service hears that it shall end.
)

# isort: split
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    celery: Celery

__all__ = ["celery"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  the module protocol's signature
    if name != "celery":
        raise AttributeError(name)
    from checkpoint_worker.worker.app import make_app  # noqa: PLC0415  see above

    try:
        app = make_app()
    except Exception as error:
        if stop_signals.program(sys.argv, sys.orig_argv) == "celery":
            from checkpoint_worker.worker.cli.commands.common import end_with_sentence  # noqa: PLC0415

            # Celery would print the traceback of whatever goes wrong here.
            end_with_sentence(error)
        raise
    globals()["celery"] = app
    return app
