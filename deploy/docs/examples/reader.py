"""A reader of outcomes as a member of a consumer group: at least once."""

import time

from checkpoint_worker.tasks.client import CheckpointClient


def follow(client: CheckpointClient, handle) -> None:
    while True:
        for outcome in client.outcomes(group="billing", reader="billing-1"):
            handle(outcome)
        time.sleep(1)  # nothing new
