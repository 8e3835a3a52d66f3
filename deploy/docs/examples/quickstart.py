"""The smallest backend: open an intent, submit the code, answer with its outcome."""

from collections.abc import Mapping

from checkpoint_worker.tasks.client import CheckpointClient, Outcome

client = CheckpointClient()  # reads CHECKPOINT_* from the environment


def login_stopped(account_id: str, context: Mapping[str, object]) -> None:
    checkpoint = {"type": "OTP", "source": "EMAIL"}
    client.open_intent(
        account_id=account_id, provider="LINKEDIN", checkpoint=checkpoint, context=context
    )


def code_typed(account_id: str, code: str) -> Outcome | None:
    submission = client.submit(account_id=account_id, provider="LINKEDIN", code=code)
    return client.wait(submission.id, timeout_s=35)  # your endpoint answers .status and .body
