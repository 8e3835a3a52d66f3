"""Every Redis name of the project: key, channel and stream.

| name (after the prefix) | type | life | read by |
|---|---|---|---|
| ``result:{submission_id}`` | string | ``result_ttl_s`` | anyone: the truth, for polling |
| ``results``, ``results:{account_id}`` | channel | - | anyone: final records as written |
| ``outcomes`` | stream | capped | readers who may not miss one |
| (the prefix itself) | list | - | Celery: the queue of wakes |
| ``session:{provider}:{account_id}`` | string | 10 s, renewed | attempt: live session |
| ``session:{provider}:{account_id}:requests`` | channel | - | the live session |
| ``session:replies:{worker}`` | channel | - | attempts of one worker |
| ``intent:{provider}:{account_id}`` | string | `Store.kept_ms` after the last deadline | store |
| ``sealed:context:{provider}:{account_id}`` | string | until the intent ends | attempt |
| ``sealed:solution:{submission_id}`` | string | until claimed or final | attempt |
| ``sealed:session:{provider}:{account_id}`` | string | ``result_ttl_s`` | ``take_session`` |
| ``taken:{provider}:{account_id}`` | string | 60 s | ``take_session``: who took it |
| ``seen:{submission_id}`` | string | 24 h | submit: known submission ids |
| ``seen:opened:{provider}:{account_id}``, ``seen:refused:…`` | string | an hour | submit: counts |
| ``user:{provider}:{user_id}`` | string | none | settle: which account has this user |
| ``due``, ``queued`` | sorted set | - | sweep: instants, last wakes |
| ``beats``, ``acked`` | sorted set | - | sweep: heartbeats, answered heartbeats |
| ``holds:{worker}`` | set | a day | sweep: intents whose exchange lease a worker holds |
| ``drains:{worker}`` | hash | a day | heartbeat: exchanges to close |
| ``leader`` | string | ``leader_s`` | sweep |
| ``signals`` | channel | - | listeners in workers |
| ``ear:{name}`` | channel | - | one client's outcome waiter: a new caller waits |
| ``dead`` | list | capped | operators: descriptions of messages set aside |

The rows from ``result:`` to ``session:replies:`` are public; the rest is private and may change in
any release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_PREFIX: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class Keys:
    """The names under one prefix."""

    prefix: str

    @property
    def control(self) -> str:
        """Exchange of Celery's remote control; under the default prefix it has Celery's own name.

        Each other prefix has its own exchange. Otherwise two deployments on one Redis would
        receive each other's commands, and Flower would show the accounts of both.
        """
        return self._celery_s("celery")

    @property
    def events(self) -> str:
        """Exchange of Celery's events, and prefix of the names of its readers' queues."""
        return self._celery_s("celeryev")

    def _celery_s(self, name: str) -> str:
        return name if self.prefix == DEFAULT_PREFIX else f"{self.prefix}.{name}"

    def result(self, submission_id: str) -> str:
        """The outcome record of a submission."""
        return f"{self.prefix}:result:{submission_id}"

    @property
    def results(self) -> str:
        """Channel of every final record."""
        return f"{self.prefix}:results"

    def account_results(self, account_id: str) -> str:
        """Channel of one account's final records."""
        return f"{self.prefix}:results:{account_id}"

    @property
    def outcomes(self) -> str:
        """Stream of every final record."""
        return f"{self.prefix}:outcomes"

    @property
    def queue(self) -> str:
        """Celery queue of wakes."""
        return self.prefix

    @staticmethod
    def member(provider: str, account_id: str) -> str:
        """The name of an intent inside sets."""
        return f"{provider}:{account_id}"

    @staticmethod
    def parse_member(member: str) -> tuple[str, str]:
        """Return ``(provider, account_id)`` of an intent's name."""
        provider, _, account_id = member.partition(":")
        return provider, account_id

    def intent(self, provider: str, account_id: str) -> str:
        """The intent."""
        return f"{self.prefix}:intent:{provider}:{account_id}"

    def context(self, provider: str, account_id: str) -> str:
        """Sealed challenge context and proxy."""
        return f"{self.prefix}:sealed:context:{provider}:{account_id}"

    def solution(self, submission_id: str) -> str:
        """Sealed solution."""
        return f"{self.prefix}:sealed:solution:{submission_id}"

    def session(self, provider: str, account_id: str) -> str:
        """Sealed session, until the backend takes it."""
        return f"{self.prefix}:sealed:session:{provider}:{account_id}"

    def live_session(self, provider: str, account_id: str) -> str:
        """A client session's registration."""
        return f"{self.prefix}:session:{provider}:{account_id}"

    def live_requests(self, provider: str, account_id: str) -> str:
        """Channel on which a client session receives requests."""
        return f"{self.live_session(provider, account_id)}:requests"

    def live_replies(self, worker: str) -> str:
        """Channel on which client sessions answer a worker; each request names it."""
        return f"{self.prefix}:session:replies:{worker}"

    def taken(self, provider: str, account_id: str) -> str:
        """The token of the caller that took the session."""
        return f"{self.prefix}:taken:{provider}:{account_id}"

    def seen(self, submission_id: str) -> str:
        """Mark that a submission id was used."""
        return f"{self.prefix}:seen:{submission_id}"

    def opened(self, provider: str, account_id: str) -> str:
        """Number of openings of an account's intent in the current hour.

        The name cannot be that of a submission, because no submission id contains a colon.
        """
        return self.seen(f"opened:{provider}:{account_id}")

    def refused(self, provider: str, account_id: str) -> str:
        """Number of an account's submissions that were refused at once in the current hour."""
        return self.seen(f"refused:{provider}:{account_id}")

    def user(self, provider: str, user_id: str) -> str:
        """The account that a provider's user id belongs to."""
        return f"{self.prefix}:user:{provider}:{user_id}"

    @property
    def due(self) -> str:
        """Intents by the instant at which their next time row applies."""
        return f"{self.prefix}:due"

    @property
    def queued(self) -> str:
        """Intents with a queued submission, by the instant of its last wake."""
        return f"{self.prefix}:queued"

    @property
    def beats(self) -> str:
        """Workers by their last heartbeat."""
        return f"{self.prefix}:beats"

    @property
    def acked(self) -> str:
        """Workers by their last heartbeat that was answered."""
        return f"{self.prefix}:acked"

    def holds(self, worker: str) -> str:
        """Intents whose exchange lease a worker holds."""
        return f"{self.prefix}:holds:{worker}"

    def drains(self, worker: str) -> str:
        """Exchanges a worker must close: submission id to instant."""
        return f"{self.prefix}:drains:{worker}"

    @property
    def leader(self) -> str:
        """The sweeper's lock."""
        return f"{self.prefix}:leader"

    @property
    def signals(self) -> str:
        """Channel of signals to running attempts."""
        return f"{self.prefix}:signals"

    def ear(self, name: str) -> str:
        """Channel on which a client notifies its own outcome waiter of a new waiting caller.

        ``ear`` was the waiter's first name; a stored name keeps its form.
        """
        return f"{self.prefix}:ear:{name}"

    @property
    def dead_letters(self) -> str:
        """Descriptions of messages that were set aside."""
        return f"{self.prefix}:dead"
