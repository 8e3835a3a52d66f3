"""What one attempt reports: log lines, and the events that an operator may count."""

from __future__ import annotations

import os
import socket
import ssl
import traceback
from logging import INFO, WARNING
from pathlib import Path
from typing import Final, NamedTuple, Self

import structlog

from checkpoint_worker.providers.contract import ProviderFailure, Verdict
from checkpoint_worker.tasks.catalogue import CeleryState
from checkpoint_worker.tasks.events import DecisionStatus, Failed, SignalAction
from checkpoint_worker.tasks.execution.observer import Observer, Refusal
from checkpoint_worker.tasks.execution.verdicts import InvalidVerdictError
from checkpoint_worker.tasks.storage.plan import Result

log = structlog.get_logger("checkpoint.attempt")

SUCCESS_LOST: Final = "intent.success_lost"
"""Note of the rules: the provider let the account in, and the intent no longer takes it."""
_REFUSALS: Final = {
    DecisionStatus.STOP: Refusal.STOPPED,
    DecisionStatus.WAIT: Refusal.BUSY,
    DecisionStatus.GO: Refusal.CHANGED,
}
"""The reason to report for a claim that was not granted."""


class Crash(NamedTuple):
    """An adapter's end outside its contract.

    It holds the exception's class and place only: the text of a foreign exception may quote
    anything, and a traceback shows values. ``why`` is a text of this project.
    """

    kind: str
    where: str
    why: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return what of an error may be logged."""
        why = str(error) if isinstance(error, InvalidVerdictError) else ""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        return cls(type(error).__name__, where, why)


class AttemptReport:
    """The log and the counted events of one attempt; it changes nothing."""

    def __init__(
        self, observer: Observer, submission_id: str, account_id: str, provider: str
    ) -> None:
        # The producer's trace is bound, because this logger also logs in other tasks' contexts.
        trace = structlog.contextvars.get_contextvars()
        self.log = log.bind(
            submission_id=submission_id, account_id=account_id, provider=provider, **trace
        )
        self._observer, self._provider = observer, provider
        self._heard: SignalAction | None = None
        self._waited = self._begun = False
        self._cause: dict[str, str] = {}

    def heard(self, do: SignalAction) -> None:
        """A signal arrived. Every heartbeat repeats a drain, which is logged once."""
        if do not in (SignalAction.LOOK, self._heard):
            self._heard = do
            self.log.info("attempt.heard", do=do.value)

    def waiting(self) -> None:
        """The wire is busy; logged once."""
        if not self._waited:
            self._waited = True
            self.log.info("attempt.waiting")

    def begun(self, waited_ms: int) -> None:
        """The first try begins, ``waited_ms`` after the acceptance of the submission."""
        if not self._begun:
            self._begun = True
            self._observer.began(self._provider, waited_ms)
            self.log.info("attempt.begun", waited_ms=waited_ms)

    def claim_refused(self, reply: DecisionStatus) -> None:
        """The ledger did not grant the claim."""
        self.not_sent(_REFUSALS.get(reply, Refusal.STOPPED))

    def claim_unanswered(self) -> None:
        """The ledger did not answer the claim."""
        self.log.warning("attempt.claim_unanswered")
        self._observer.refused(self._provider, Refusal.UNANSWERED)

    def not_sent(self, reason: Refusal) -> None:
        """The code was not sent although its turn had come."""
        self._observer.refused(self._provider, reason)
        self.log.info("attempt.not_sent", reason=reason.value)

    def claimed(self, generation: int) -> None:
        """The claim was granted."""
        self.log.info("attempt.claimed", generation=generation)

    def exchanged(self, took_s: float) -> None:
        """The exchange of a sent code ended, ``took_s`` after the claim."""
        self._observer.exchanged(self._provider, took_s)

    def answered(self, ended: Verdict | Failed, *, sent: bool, took_s: float | None) -> None:
        """The exchange ended, ``took_s`` after the claim (``None``: there was no claim)."""
        if took_s is not None:
            name, took_ms = _name(ended), round(took_s * 1000)
            self.log.info("attempt.answered", verdict=name, sent=sent, took_ms=took_ms)
        if isinstance(ended, Failed) and ended.in_doubt:
            # A provider's change shows here first, and the outcome may ask nothing of the operator.
            self.log.warning("attempt.in_doubt", verdict=_name(ended))

    def failed(self, failure: ProviderFailure) -> None:
        """A try failed; the line of its settlement will have the system's reason, if any."""
        cause = _cause(failure.__cause__)
        self._cause = {"cause": cause} if cause else {}

    def crashed(self, crash: Crash) -> None:
        """An adapter ended outside its contract."""
        why = {"why": crash.why} if crash.why else {}
        self.log.error("attempt.crashed", error=crash.kind, where=crash.where, **why)

    def verdict_without_claim(self) -> None:
        """An adapter returned a verdict, although it did not send the code."""
        self.log.error("attempt.verdict_without_claim")

    def left_unsettled(self) -> None:
        """A cancelled attempt could not be settled in time; the sweeper does it."""
        self.log.warning("attempt.left_unsettled")

    def settled(self, result: Result | None, ended: Verdict | Failed) -> None:
        """The attempt's end was committed; ``None``: the ledger stayed away until the expiry."""
        if result is None:
            self.log.error("attempt.unsettled")
            return
        name = _name(ended)
        for note in result.decision.notes:
            self.log.warning(note, verdict=name)
            if note == SUCCESS_LOST:
                self._observer.success_lost()
        for record in result.records:
            # An outcome that may need the operator is a warning: warnings are never sampled out.
            level = WARNING if record.celery_state is CeleryState.FAILURE else INFO
            self.log.log(
                level,
                "attempt.settled",
                settled=record.submission_id,
                status=record.status,
                verdict=name,
                code_sent=record.code_sent,
                **self._cause,
            )


def _name(ended: Verdict | Failed) -> str:
    return ended.failure.type if isinstance(ended, Failed) else type(ended).__name__


def _cause(error: BaseException | None) -> str:
    """Return why a connection failed, in the words of the system; they name no address or value."""
    match error:
        case ssl.SSLError(reason=str(reason)) if reason.replace("_", "").isalnum():
            return reason
        case ssl.SSLError():
            return type(error).__name__
        case socket.gaierror(errno=socket.EAI_NONAME):
            return "the name does not exist"
        case socket.gaierror():
            return "the name server does not answer"
        case OSError(errno=int(number)):
            return os.strerror(number)
        case _:
            return ""
