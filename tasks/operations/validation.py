"""Validation of requests: the form of each value, and the error for a value that does not fit.

The clients, the gateway and, for plain Celery producers, the worker use it. A refusal raises
`CheckpointError` and stores nothing.
"""

from __future__ import annotations

import copyreg
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from pydantic import ValidationError

from checkpoint_worker.providers import LIVE_SESSION, adapter_for
from checkpoint_worker.providers.contract import (
    TRY_ANOTHER_WAY,
    Checkpoint,
    Context,
    SolutionKind,
    fold,
)
from checkpoint_worker.providers.steps import unsendable_path, why_contrary
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Pair
from checkpoint_worker.tasks.model import Seq, Submission
from checkpoint_worker.tasks.operations.unfit import FIELD_NAME_MAX, why_unfit
from checkpoint_worker.tasks.settings import Settings

ACCOUNT_ID_MAX: Final = 256
CODE_MAX: Final = 256
USER_ID_MAX: Final = 256
WORD_MAX: Final = 64
"""Longest ``type`` or ``source`` of a checkpoint, in characters."""
SUBMISSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
CONTEXT_BYTES_MAX: Final = 65_536
"""Longest challenge context, as JSON in UTF-8."""
CONTEXT_LEVELS_MAX: Final = 16
CONTEXT_ENTRIES_MAX: Final = 256
"""Entries of one list or object of a challenge context; validation takes time for each."""
CONTEXT_VALUES_MAX: Final = 4_096
"""Values in a whole challenge context."""
JSON_VALUE_BYTES: Final = 4
"""Bytes that a value of a context needs in JSON beside its text: quotes, comma and colon."""
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class CheckpointError(Exception):
    """A request was refused before anything was stored.

    Attributes:
        pair: The error of the catalogue.
        status: HTTP status for the web backend's answer.
        body: JSON body for it.
        retry_after_s: For a 503, the whole seconds after which a retry may succeed.
    """

    def __init__(
        self,
        pair: Pair,
        detail: str | None = None,
        instance: str | None = None,
        *,
        retry_after_s: int | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        self.pair = pair
        self.status = pair.status
        self.body = catalogue.error_body(pair, instance or new_id("req"), detail)
        super().__init__(f"{pair.status} {pair.type}: {self.body['detail']}")

    def __reduce__(self) -> tuple[object, ...]:
        """Copy and pickle the error as it is, for process pools, which hang on one they cannot."""
        make = copyreg.__newobj__  # type: ignore[attr-defined]  # Pickle's own; it has no stub.
        return make, (type(self), *self.args), vars(self)


def new_id(kind: str = "sub") -> str:
    """Return an id that sorts by time: ``sub_`` and a ULID."""
    number = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    digits = (CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
    return f"{kind}_{''.join(digits)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRequest:
    """A well-formed request: account, provider and the trimmed solution.

    Attributes:
        send_by_ms: Instant at which the sender gives it up, if that is before the deadline.
    """

    account_id: str
    provider: str
    code: str = field(repr=False)
    send_by_ms: int | None = None

    @property
    def kind(self) -> SolutionKind:
        """Whether the solution is a code or asks for another way."""
        another = self.code == TRY_ANOTHER_WAY
        return SolutionKind.ANOTHER_WAY if another else SolutionKind.CODE


def read_request(
    settings: Settings, account_id: object, provider: object, code: object
) -> SubmissionRequest:
    """Check the form of a request.

    Raises:
        CheckpointError: The 400 that fits, or 403 ``feature_not_subscribed``.
    """
    account, name = read_account(settings, account_id, provider)
    text = _text("code", code).strip()
    if len(text) > CODE_MAX:
        msg = f"`code` has more than {CODE_MAX} characters."
        raise CheckpointError(catalogue.TOO_MANY_CHARACTERS, msg)
    _no_controls("code", text)
    if not (text := fold(text)):
        _refuse_form("`code` is empty.")
    return SubmissionRequest(account_id=account, provider=name, code=text)


def read_account(settings: Settings, account_id: object, provider: object) -> tuple[str, str]:
    """Check account and provider; return ``(account_id, provider)``.

    Raises:
        CheckpointError: As `read_request`.
    """
    account, name = _text("account_id", account_id), _text("provider", provider)
    if not 0 < len(account) <= ACCOUNT_ID_MAX:
        _refuse_form(f"`account_id` must have 1 to {ACCOUNT_ID_MAX} characters.")
    _no_controls("account_id", account)
    if adapter_for(name) is None:
        _refuse_form("`provider` is none that is known here; see `checkpoint config`.")
    if name not in settings.providers:
        raise CheckpointError(catalogue.FEATURE_NOT_SUBSCRIBED)
    return account, name


def read_submission_id(submission_id: object) -> str:
    """Return a submission id given by the caller, or a new one for ``None``.

    Raises:
        CheckpointError: It is not 1-128 of ``A-Za-z0-9_-``.
    """
    if submission_id is None:
        return new_id()
    if not (isinstance(submission_id, str) and SUBMISSION_ID.fullmatch(submission_id)):
        _refuse_form("A submission id has 1 to 128 of the characters A-Z a-z 0-9 _ -.")
    return submission_id


def _text(name: str, value: object) -> str:
    if value is None:
        raise CheckpointError(catalogue.MISSING_PARAMETERS, f"`{name}` is missing.")
    if not isinstance(value, str):
        _refuse_form(f"`{name}` must be a string.")
    return value


def _no_controls(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse_form(f"`{name}` is not valid Unicode text.")
    # `isprintable` is the quick test; some characters that are not printable are no controls.
    if not value.isprintable() and any(unicodedata.category(char) == "Cc" for char in value):
        _refuse_form(f"`{name}` holds control characters.")


def _refuse_form(detail: str) -> NoReturn:
    raise CheckpointError(catalogue.INVALID_PARAMETERS, detail) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An intent's secrets, which the vault seals."""

    context: Mapping[str, object] = field(repr=False)
    proxy: str | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """Return the bytes to seal."""
        return json.dumps({"context": self.context, "proxy": self.proxy}).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Sealed:
        """Read the bytes that `to_bytes` returned."""
        return cls(**json.loads(raw))


def read_context(
    provider: str,
    context: object,
    *,
    checkpoint: Checkpoint | None = None,
    routes_off: Collection[str] = (),
) -> Context:
    """Check a challenge context against its adapter's model, and against its checkpoint.

    Args:
        provider: A provider that `read_account` has accepted.
        context: The caller's value.
        checkpoint: The checkpoint that it belongs to; without it the context is checked alone.
        routes_off: `Settings.routes_off`, each ``PROVIDER/route``.

    Raises:
        CheckpointError: 400 ``invalid_parameters`` that names the fields, never a value; 400
            ``unescaped_characters`` for a path that cannot be sent; 403
            ``feature_not_subscribed`` for a route that is off.
    """
    if not isinstance(context, Mapping):
        _refuse_form("`context` must be an object.")
    _check_size(context)
    route = str(context.get("route", "http"))
    adapter = adapter_for(provider, route)
    model = adapter.contexts.get(route) if adapter is not None else None
    if model is None:
        names = ", ".join([*(adapter.contexts if adapter is not None else ()), LIVE_SESSION])
        _refuse_form(f"`context.route` is none that {provider} has; there are {names}.")
    if f"{provider}/{route}" in routes_off:
        msg = "This route is switched off here (CHECKPOINT_ROUTES_OFF)."
        raise CheckpointError(catalogue.FEATURE_NOT_SUBSCRIBED, msg)
    try:
        held = model.model_validate(context)
    except ValidationError as error:
        _refuse_form(why_unfit(provider, model, error, context))
    if (why := held.why_hopeless()) is not None:
        _refuse_form(f"No code can succeed with this context: context.{why}.")
    if checkpoint is not None and (why := why_contrary(checkpoint, held)) is not None:
        _refuse_form(f"No code can succeed with this checkpoint and context: {why}.")
    if (name := unsendable_path(held)) is not None:
        msg = f"`context.{name}` cannot go into a URL: write each such character as %XX."
        raise CheckpointError(catalogue.UNESCAPED_CHARACTERS, msg)
    return held


def _check_size(context: Mapping[object, object]) -> None:
    """Refuse a context that is too large, before any step whose cost grows with its values.

    Raises:
        CheckpointError: 400 ``invalid_parameters`` that names the field and the rule.
    """
    level: list[tuple[str, object]] = [("context", context)]
    left, size = CONTEXT_VALUES_MAX, 0
    for _ in range(CONTEXT_LEVELS_MAX):
        inner: list[tuple[str, object]] = []
        for name, value in level:
            if isinstance(value, str):
                size += _utf8_size(value, CONTEXT_BYTES_MAX - size)
            elif isinstance(value, Mapping | list | tuple | set | frozenset):
                if len(value) > CONTEXT_ENTRIES_MAX:
                    msg = f"`{name}` has more than {CONTEXT_ENTRIES_MAX} entries: {_LEAVE_OUT}"
                    _refuse_form(msg)
                keys = value if isinstance(value, Mapping) else ()
                size += sum(_utf8_size(str(key), CONTEXT_BYTES_MAX) for key in keys)
                named = value.items() if isinstance(value, Mapping) else ((name, v) for v in value)
                inner += (
                    (f"context.{str(key)[:FIELD_NAME_MAX]}" if name == "context" else name, each)
                    for key, each in named
                )
            size += JSON_VALUE_BYTES
        left -= len(inner)
        if left < 0:
            _refuse_form(f"`context` has more than {CONTEXT_VALUES_MAX:,} values: {_LEAVE_OUT}")
        if size > CONTEXT_BYTES_MAX:
            _refuse_form(f"`context` is over {CONTEXT_BYTES_MAX:,} bytes as JSON: {_LEAVE_OUT}")
        if not inner:
            return
        level = inner
    msg = f"`context` is nested more than {CONTEXT_LEVELS_MAX} levels deep: {_LEAVE_OUT}"
    _refuse_form(msg)


_LEAVE_OUT: Final = "leave out what the adapter's model does not name and cookies of other hosts."


def _utf8_size(text: str, most: int) -> int:
    """Return a text's length in UTF-8, or in characters if those alone exceed ``most``."""
    return len(text) if len(text) > most else len(text.encode(errors="replace"))


def read_checkpoint(checkpoint: object) -> Checkpoint:
    """Check a checkpoint: ``type`` and, where it has one, ``source``.

    Raises:
        CheckpointError: The 400 that fits.
    """
    if not isinstance(checkpoint, Mapping):
        _refuse_form("`checkpoint` must be an object with `type` and `source`.")
    type_, source = checkpoint.get("type"), checkpoint.get("source")
    if type_ is None:
        raise CheckpointError(catalogue.MISSING_PARAMETERS, "`checkpoint.type` is missing.")
    for name, word in (("type", type_), ("source", source)):
        if word is not None and not (isinstance(word, str) and 0 < len(word) <= WORD_MAX):
            _refuse_form(f"`checkpoint.{name}` must be a short string.")
        _no_controls(f"checkpoint.{name}", word or "")
    return Checkpoint(type=type_, source=source)


def read_user_id(user_id: object) -> str | None:
    """Check the provider's id that the account must have, if one is given.

    Raises:
        CheckpointError: 400 ``invalid_parameters``.
    """
    if user_id is None:
        return None
    text = _text("user_id", user_id)
    if not 0 < len(text) <= USER_ID_MAX:
        _refuse_form(f"`user_id` must have 1 to {USER_ID_MAX} characters.")
    _no_controls("user_id", text)
    return text


def read_step(step: object) -> int | None:
    """Check the number of the checkpoint step that a code answers, if one is given.

    Raises:
        CheckpointError: 400 ``invalid_parameters``.
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
        _refuse_form("`checkpoint_step` must be an integer.")
    return step


def unknown_submission(submission_id: str, queued_at_ms: int, seq: int = 0) -> Submission:
    """Return the submission for an id that no intent knows."""
    return Submission(
        id=submission_id,
        seq=Seq(seq),
        step=0,
        kind=SolutionKind.CODE,
        digest="",
        run_id="",
        queued_at_ms=queued_at_ms,
        deadline_ms=queued_at_ms,
    )
