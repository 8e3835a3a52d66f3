"""Helpers for tests of commits, shared with `test_commit`."""

from typing import Any

import redis

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.model import Settlement
from checkpoint_worker.tasks.operations.validation import unknown_submission
from checkpoint_worker.tasks.storage.executor import ScriptCall, SyncExecutor
from tests.support.ledger_fixture import LedgerFixture


class Recorder(SyncExecutor):
    """An executor that records the answers of commits and may lose the first answer."""

    def __init__(self, client: redis.Redis, *, lose: str = "") -> None:
        super().__init__(client)
        self.lose, self.codes = lose, list[str]()

    def _eval(self, call: ScriptCall) -> list[Any]:
        reply = super()._eval(call)
        if call.script == "commit":
            self.codes.append(reply[0])
        if call.script == self.lose:
            self.lose = ""
            message = "the reply was lost"
            raise redis.ConnectionError(message)
        return reply


def recorded(ledger: LedgerFixture, *, lose: str = "") -> Recorder:
    """Let the ledger go through an executor that notes the codes."""
    ledger.executor = executor = Recorder(ledger.redis, lose=lose)
    return executor


def orphan(submission_id: str) -> Settlement:
    """Return the outcome of a submission that no intent knows."""
    return Settlement(
        submission=unknown_submission(submission_id, 1_000, 5),
        answer=catalogue.TIMED_OUT,
        code_sent=True,
    )
