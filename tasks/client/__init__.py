"""The clients for a web backend: `CheckpointClient` and `AsyncCheckpointClient`.

Both run the same operations; only the executor differs. If the ledger does not answer, they raise
a `CheckpointError` 503 whose detail says what is known about the request.

A client may be made and used before a server forks its processes, in Python or in C: each process
makes its own connections and its own name. If a snapshot of a machine is resumed more than once,
take it before the client's first call. An `AsyncCheckpointClient` may serve several event loops
one after the other, but never two at once.
"""

from __future__ import annotations

from checkpoint_worker.tasks.client.awaiting import AsyncCheckpointClient
from checkpoint_worker.tasks.client.blocking import CheckpointClient
from checkpoint_worker.tasks.operations.acceptance import Submitted
from checkpoint_worker.tasks.operations.submissions import (
    ABANDONED_MS,
    LIMIT_MAX,
    IntentInfo,
    make_store,
    make_vault,
)
from checkpoint_worker.tasks.operations.submissions import (
    READER_SETTLES_AFTER_MS as OVERDUE_MS,  # The public name.
)
from checkpoint_worker.tasks.operations.validation import CheckpointError
from checkpoint_worker.tasks.records import Outcome

__all__ = [
    "ABANDONED_MS",
    "LIMIT_MAX",
    "OVERDUE_MS",
    "AsyncCheckpointClient",
    "CheckpointClient",
    "CheckpointError",
    "IntentInfo",
    "Outcome",
    "Submitted",
    "make_store",
    "make_vault",
]
