"""Checks of an adapter's result, made before the result is settled.

An adapter may be a third-party plug-in. A session that is not JSON, a context that the next step
cannot read, or a failure with an unknown pair would make settling fail, and the person would wait
for the deadline. These checks make it an error at once, which names the rule and no value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from checkpoint_worker.providers import contract
from checkpoint_worker.providers.contract import (
    Adapter,
    Checkpoint,
    Cleared,
    Context,
    NextCheckpoint,
    ProviderFailure,
    Rejected,
    Verdict,
)
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.events import Failed
from checkpoint_worker.tasks.operations.validation import (
    CheckpointError,
    Sealed,
    read_checkpoint,
    read_user_id,
)

_AS_JSON: Final = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
SESSION_BYTES_MAX: Final = 1_048_576
"""Longest session as JSON; the largest known one has about 20 KB."""
DETAIL_MAX: Final = 1_000
TELLS_USE: Final = frozenset({408, 503})
"""Statuses whose detail states whether the code may have been used."""
PAIRS: Final = frozenset(
    (each.status, each.type)
    for each in vars(contract).values()
    if isinstance(each, type) and issubclass(each, ProviderFailure) and each is not ProviderFailure
)
"""Pairs that an adapter may fail with; the others are for this project's own errors."""


class InvalidVerdictError(Exception):
    """An adapter's verdict or failure breaks the contract. The text quotes no value."""


def validate_verdict(
    verdict: object, adapter: Adapter, *, sent: bool
) -> tuple[Verdict, bytes | None]:
    """Return the verdict if it can be settled, and its session as `session_bytes`, if it has one.

    Args:
        verdict: The object that the adapter returned.
        adapter: The adapter whose contexts the next step is read with.
        sent: Whether the code may have reached the provider.

    Raises:
        InvalidVerdictError: It is not a verdict, or it cannot be stored.
        Exception: Any exception of a plug-in's model, which runs here.
    """
    as_json: bytes | None = None
    match verdict:
        case Cleared(user_id=user_id, session=session):
            _user_id(user_id)
            as_json = session_bytes(session, provider=adapter.provider, user_id=user_id)
        case Rejected(context=context):
            if context is not None:
                _context(context, adapter)
        case NextCheckpoint(checkpoint=checkpoint, context=context):
            _checkpoint(checkpoint)
            _context(context, adapter)
        case _:
            msg = "verify returned no verdict"
            raise InvalidVerdictError(msg)
    if not sent:
        msg = "a verdict on a code that was not sent"
        raise InvalidVerdictError(msg)
    return verdict, as_json


def validate_failure(failure: ProviderFailure, adapter: Adapter, *, sent: bool) -> Failed:
    """Return the form in which a failure is settled.

    Raises:
        InvalidVerdictError: Its pair, its sentence or its context cannot be published or stored.
        Exception: Any exception of a plug-in's model, which runs here.
    """
    if (failure.status, failure.type) not in PAIRS:
        msg = "a failure of a kind that is not in the contract"
        raise InvalidVerdictError(msg)
    row = catalogue.pair(failure.status, failure.type)
    detail: Any = failure.detail
    if detail is not None and not (isinstance(detail, str) and len(detail) <= DETAIL_MAX):
        msg = "a failure's detail is no short text"
        raise InvalidVerdictError(msg)
    (detail or "").encode()
    if failure.context is not None:
        _context(failure.context, adapter)
    if row.status in TELLS_USE and "code" not in (detail or ""):
        use = "The code may have been used." if sent else "The code was not sent."
        detail = f"{detail or row.detail} {use}"
    return Failed(
        failure=row,
        sent=sent,
        detail=detail,
        context=failure.context,
        in_doubt=sent and failure.in_doubt is True,
    )


def session_bytes(session: object, **named: str) -> bytes:
    """Return a session in the form in which it is sealed.

    Args:
        session: The session from the adapter or the live session.
        **named: Provider and user id, which are added for every kind of adapter.

    Raises:
        InvalidVerdictError: It is not a mapping, or it is too large.
        TypeError: It holds a value that JSON does not have.
        ValueError: It holds NaN, half a surrogate pair or a reference to itself.
    """
    if not isinstance(session, Mapping):
        msg = "a session is no mapping"
        raise InvalidVerdictError(msg)
    found = _AS_JSON.encode({**named, **session, **named}).encode()
    if len(found) > SESSION_BYTES_MAX:
        msg = f"a session is longer than {SESSION_BYTES_MAX} bytes"
        raise InvalidVerdictError(msg)
    return found


def _user_id(user_id: object) -> None:
    # A success without a valid user id cannot be assigned to an account.
    try:
        known = read_user_id(user_id)
    except CheckpointError:
        known = None
    if known is None:
        msg = "cleared without a user id, or with one that is none"
        raise InvalidVerdictError(msg)


def _checkpoint(checkpoint: object) -> None:
    try:
        if isinstance(checkpoint, Checkpoint):
            read_checkpoint(checkpoint.as_wire())
            return
    except CheckpointError:
        pass
    msg = "the next checkpoint has no type, or a word that is none"
    raise InvalidVerdictError(msg)


def _context(context: object, adapter: Adapter) -> None:
    """Check that the next step can read this context."""
    if not isinstance(context, Context):
        msg = "a context is no model of the contract"
        raise InvalidVerdictError(msg)
    # A value that breaks its own model fails when read below; here it would only warn.
    dumped = context.model_dump(mode="json", warnings=False)
    Sealed(context=dumped).to_bytes()
    adapter.contexts[dumped["route"]].model_validate(dumped)
