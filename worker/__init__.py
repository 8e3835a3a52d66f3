"""The worker process: Celery app, pool, signal listener, sweeper, logs and command line.

``celery -A checkpoint_worker.worker worker`` finds the app as the attribute `celery` of this
package. It is created on first access, so that simple commands import no heavy modules.
"""

from __future__ import annotations

from checkpoint_worker.worker.runtime import (
    stop_signals,  # First: from here on SIGTERM ends a service that is still starting.
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
    from checkpoint_worker.tasks.operations.foreign import forget_foreign  # noqa: PLC0415

    forget_foreign()  # The app reports these variables; its libraries read some at their import.
    from checkpoint_worker.worker.app import make_app  # noqa: PLC0415  see the module's docstring

    try:
        app = make_app()
    except Exception as error:
        if stop_signals.program(sys.argv, sys.orig_argv) == "celery":
            from checkpoint_worker.worker.cli.commands.common import end_with_sentence  # noqa: PLC0415

            # Celery would print a traceback for each error raised here.
            end_with_sentence(error)
        raise
    globals()["celery"] = app
    return app
