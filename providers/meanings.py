"""Meanings of signs in an answer, for the tables of the adapters."""

from __future__ import annotations

from dataclasses import dataclass

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    SessionMismatchError,
    UnknownStepError,
    UnreadableAnswerError,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a sign: a failure and its sentence for the caller.

    Without a failure it is a refused code.
    """

    failure: type[ProviderFailure] | None
    detail: str = ""

    def error(self) -> ProviderFailure:
        """Return the failure, to be raised."""
        assert self.failure is not None, "a refused code is a verdict"
        return self.failure(self.detail)


WRONG = Meaning(None)
CAPTCHA = Meaning(
    ActionRequiredError, "The provider asks for a captcha, which the person must solve on its site."
)
CONSENT = Meaning(
    ActionRequiredError, "The provider asks the person to agree to its terms on its site."
)
NEW_PASSWORD = Meaning(
    ActionRequiredError, "The provider asks the person to choose a new password on its site."
)
UNKNOWN_STEP = Meaning(
    UnknownStepError,
    "The provider asks for a step that is not known here; the person may finish it on its site.",
)
FORM = Meaning(MalformedRequestError, "The provider refused the request's form.")
TOKEN = Meaning(SessionMismatchError, "The provider does not take the token for this session.")
INTERNAL = Meaning(ProviderBrokenError, "The provider reports an error of its own.")
THROTTLED = Meaning(ProviderBrokenError, "The provider asks to wait before the next try.")
UNREADABLE = Meaning(UnreadableAnswerError, "The provider's answer cannot be read.")
NO_SESSION = Meaning(UnreadableAnswerError, "The provider let the login pass but gave no session.")
