"""The process around the job: Celery app, pool, listener, sweeper, logs, command line.

``celery -A worker worker`` finds `celery` here. It is made when it is first asked for, so that
light commands import nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    celery: Celery

__all__ = ["celery"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  the module protocol's signature
    if name != "celery":
        raise AttributeError(name)
    from worker.app import make_app  # noqa: PLC0415  see above

    globals()["celery"] = app = make_app()
    return app
