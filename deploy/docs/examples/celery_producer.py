"""A producer that knows Celery alone: the task's name, its queue and its arguments."""

from celery import Celery


def submit(app: Celery, account_id: str, code: str, submission_id: str) -> None:
    app.send_task(
        "checkpoint.solve",
        kwargs={"account_id": account_id, "provider": "LINKEDIN", "code": code},
        queue="checkpoint",
        task_id=submission_id,  # 1-128 of A-Za-z0-9_-; also the submission id
    )
