"""The worker's request object of one message, which shows a superseded task as REVOKED.

The module is separate from `tasks.celery_task.async_task` because it imports Celery's worker.
"""

from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.worker.request import Request

from checkpoint_worker.tasks.celery_task.async_task import Superseded


class CheckpointRequest(Request):  # type: ignore[misc]  # Celery has no types.
    """Celery's request; `Superseded` ends it with a ``task-revoked`` event.

    Celery's own exceptions do not fit: ``Ignore`` leaves the task STARTED in every monitor, and
    ``Terminated`` logs an error with a traceback.
    """

    def on_failure(
        self,
        exc_info: Any,  # noqa: ANN401  # billiard.einfo.ExceptionInfo, untyped.
        send_failed_event: bool = True,  # noqa: FBT001, FBT002  # Celery's signature.
        return_ok: bool = False,  # noqa: FBT001, FBT002  # Celery's signature.
    ) -> None:
        """Acknowledge the message and send the event; called on the worker's main thread.

        The event's ``exception`` is the only free text that Flower shows, so it names the
        successor.
        """
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        exc = exc_info.exception
        if isinstance(exc, ExceptionWithTraceback):
            exc = exc.exc
        if isinstance(exc, Superseded):
            self.send_event(
                "task-revoked", terminated=False, signum=None, expired=False, exception=str(exc)
            )
