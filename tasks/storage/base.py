"""The ledger of one deployment and its reads of single intents and records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from checkpoint_worker.tasks.events import RuleLimits
from checkpoint_worker.tasks.records import Outcome, read_outcome
from checkpoint_worker.tasks.rules import HOUR_MS
from checkpoint_worker.tasks.storage.connections import NO_IDENTITY
from checkpoint_worker.tasks.storage.executor import ForeignLedgerError, Operation, ScriptCall
from checkpoint_worker.tasks.storage.intent_json import load_intent
from checkpoint_worker.tasks.storage.keys import Keys
from checkpoint_worker.tasks.storage.views import Snapshot

EMBEDDED_RUN_ID: Final = "embedded"


class Room(Struct, frozen=True, kw_only=True, gc=False):
    """Limits on the new work that the ledger accepts.

    Attributes:
        filled_max: Memory use of Redis, in thousandths, above which new work is refused.
        opens_max: Maximum number of openings for one account in an hour.
        refused_max: Maximum number of submissions of one account in an hour that are answered at
            once because the account has no open intent.
        queue_max: Maximum number of submissions that wait for an attempt.
        queue_age_ms: Age at which a waiting submission is too old; once a tenth of those that wait
            have it, new ones are refused.
    """

    filled_max: int = 850
    opens_max: int = 60
    refused_max: int = 60
    queue_max: int = 10_000
    queue_age_ms: int = 10_000


ROOM: Final = Room()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBase:
    """The ledger of one deployment.

    Attributes:
        keys: The Redis names of the deployment.
        limits: The times of the rules.
        result_ttl_ms: Life of a record.
        outcomes_max: Approximate maximum length of the stream of outcomes.
        embedded: Whether a Redis without identity is allowed.
        room: Limits on new work.
        has_queue: Whether the Celery queue is in the same Redis, so that a commit can write wakes
            into it.
    """

    keys: Keys
    limits: RuleLimits
    result_ttl_ms: int
    outcomes_max: int
    embedded: bool = False
    room: Room = ROOM
    has_queue: bool = False

    @property
    def kept_ms(self) -> int:
        """Time for which an intent is kept after the last deadline it can have, ms.

        This is the life of a record, but at least an hour: the intent holds the hour's count of
        submissions, the lease of an exchange that may still run, and the submission that a sweep
        settles after an outage of Redis.
        """
        return max(self.result_ttl_ms, HOUR_MS)

    @property
    def context_ttl_ms(self) -> int:
        """Life of a sealed context from each write: up to the deadline of the last code.

        The commit that ends the intent deletes the context; the expiry covers an intent that no
        commit ends.
        """
        return self.limits.intent_ttl_ms + self.limits.deadline_ms

    def read(
        self,
        provider: str,
        account_id: str,
        *,
        submission_id: str | None = None,
        also: Sequence[str] = (),
        queue_age_ms: int | None = None,
        needs_master: bool = False,
    ) -> Operation[Snapshot]:
        """Read one intent, one record and any other strings, all of one instant.

        Args:
            provider: Provider of the intent.
            account_id: Account of the intent.
            submission_id: Submission whose record is read as well.
            also: Keys of other strings to read.
            queue_age_ms: Also read the number of queued submissions, the number of those that
                have waited at least this long, and the memory use of Redis.
            needs_master: Refuse a replica here, because no commit follows that would.

        Raises:
            ForeignLedgerError: This Redis has no identity; only the embedded mode may use it.
        """
        wanted = [self.keys.intent(provider, account_id)]
        if submission_id is not None:
            wanted.append(self.keys.result(submission_id))
        wanted += also
        counts = ("", 0) if queue_age_ms is None else (self.keys.queued, queue_age_ms)
        reply = yield ScriptCall("read", tuple(wanted), (*counts, int(needs_master)))
        now_ms, run_id, queued, aged, filled, values = reply
        if run_id == EMBEDDED_RUN_ID and not self.embedded:
            raise ForeignLedgerError(NO_IDENTITY)
        # A trailing nil may be cut off by the protocol of a simulated Redis.
        found = dict(zip(wanted, [*values, *[None] * len(wanted)], strict=False))
        intent, tokens = load_intent(found[wanted[0]])
        record = found[self.keys.result(submission_id)] if submission_id is not None else None
        return Snapshot(
            now_ms=int(now_ms),
            run_id=run_id,
            queued=int(queued),
            aged=int(aged),
            filled=int(filled),
            intent=intent,
            tokens=tokens,
            record=read_outcome(record, submission_id),
            values={key: found[key] for key in also},
        )

    def record(self, submission_id: str) -> Operation[tuple[int, Outcome | None]]:
        """Read one record, with Redis time in ms."""
        reply = yield ScriptCall("read", (self.keys.result(submission_id),), ("", 0, 1))
        now_ms, values = reply[0], reply[-1]
        stored = values[0] if values else None
        return int(now_ms), read_outcome(stored, submission_id)

    def records(self, submission_ids: Sequence[str]) -> Operation[dict[str, Outcome | None]]:
        """Read many records at once, as they are; reading settles nothing."""
        keys = tuple(map(self.keys.result, submission_ids))
        stored = (yield ScriptCall("read", keys, ("", 0, 1)))[-1]
        # A trailing nil may be cut off by the protocol of a simulated Redis.
        texts = zip(submission_ids, [*stored, *[None] * len(keys)], strict=False)
        return {name: read_outcome(text, name) for name, text in texts}
