"""What the key of a request may do: the accounts it may name, its budget, its audit lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.gateway.http import UNAUTHORIZED, ApiError
from checkpoint_worker.tasks.gateway.keys import KEY_IN_SCOPE, ApiKey
from checkpoint_worker.tasks.gateway.middleware import ID_IN_SCOPE

log = logging.getLogger("checkpoint.gateway")


def key_of(request: Request) -> ApiKey:
    """Return the key with which a request was let in."""
    key: ApiKey = request.scope[KEY_IN_SCOPE]
    return key


def key_for(request: Request, fields: dict[str, Any]) -> ApiKey:
    """Return the key of a request after a check that it may name the account of the request."""
    key = key_of(request)
    check_account(key, fields.get("account_id"))
    return key


def check_account(key: ApiKey, account_id: object) -> None:
    """Refuse an account that the key may not name.

    Raises:
        ApiError: 401. A 403 would look like the answer of a provider.
    """
    if not key.may_name(account_id):
        msg = "This API key is for other accounts."
        headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
        raise ApiError(UNAUTHORIZED, msg, headers=headers)


@dataclass
class Charge:
    """A charge of a key's budget, and whether it stands because the request was stored."""

    stands: bool = False


@contextmanager
def charged(key: ApiKey, size: float) -> Iterator[Charge]:
    """Charge a key's budget for a request, and give it back if nothing was stored.

    Raises:
        ApiError: 503: the budget is used up.
    """
    if again_s := key.budget.take(size):
        msg = (
            "This key has stored as much as it may (CHECKPOINT_KEY_BYTES_MAX); nothing was stored."
        )
        raise ApiError(catalogue.UNAVAILABLE, msg, headers={"Retry-After": str(again_s)})
    charge = Charge()
    try:
        yield charge
    finally:
        if not charge.stands:
            key.budget.give_back(size)


def audit(request: Request, event: str, account_id: str, provider: str, **what: object) -> None:
    """Log which key changed an intent or a submission, for later audits."""
    log.info(
        "%s key=%s account_id=%s provider=%s %s=%s request_id=%s",
        event,
        key_of(request).name,
        account_id,
        provider,
        *next(iter(what.items())),
        request.scope[ID_IN_SCOPE],
    )
