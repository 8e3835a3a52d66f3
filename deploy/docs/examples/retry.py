"""Submit once although an answer may be lost, and put an outcome into words."""

from checkpoint_worker.tasks.client import CheckpointClient, CheckpointError, Outcome
from checkpoint_worker.tasks.operations.validation import new_id


def submit_surely(client: CheckpointClient, account_id: str, code: str) -> str:
    submission_id = new_id()  # made once, before the first try
    for tries_left in (2, 1, 0):
        try:
            client.submit(
                account_id=account_id, provider="LINKEDIN", code=code, submission_id=submission_id
            )
            break
        except CheckpointError as error:
            if error.status != 503 or not tries_left:
                raise
    return submission_id


def say(outcome: Outcome | None) -> str:
    match outcome:
        case None:
            return "There is no such submission."
        case Outcome(201):
            return "Connected."
        case Outcome(202):
            return f"Now the code from {outcome.checkpoint['source']}."
        case Outcome(401):
            return f"That code is wrong; {outcome.intent.failures_left} tries are left."
        case Outcome(409, "operation_canceled"):
            return "You sent a newer code."
        case Outcome(500, "authentication_intent_error"):
            return "Too many tries: please log in again."
        case Outcome(is_final=False):
            return "Still at it."
        case _:
            return outcome.body["title"]
