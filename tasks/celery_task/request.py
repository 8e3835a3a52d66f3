"""The worker's request object of one message: decoded once, and REVOKED where it is superseded.

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

    Celery's tracer decodes the body again unless the content type is empty, but the payload of the
    message is decoded already.
    """

    def __init__(self, message: Any, **options: Any) -> None:  # noqa: ANN401  # kombu's, Celery's.
        super().__init__(message, **options)
        if not self._decoded:
            self._body, self._content_type = message.payload, None

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
