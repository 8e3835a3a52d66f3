"""MESSENGER: reading of an error, in each of the forms that the provider's hosts use.

The Graph host writes ``error``, or a list ``errors`` whose first entry counts; the legacy host
writes ``error_code``, the web a number in ``error`` with ``errorSummary`` beside it. ``error_data``
is an object or a JSON text. An empty error is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from checkpoint_worker.providers.messenger.meanings import MEANINGS, WORDS_MAX, Error
from checkpoint_worker.providers.messenger.requests import brought, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkpoint_worker.providers.messenger.meanings import Sign

_NUMBER: Final = re.compile(r"[0-9]{1,20}")
_WORDS: Final = (
    "error_user_title", "error_user_msg", "message", "error_msg", "summary", "description",
)  # fmt: skip
_WEB_WORDS: Final = ("errorSummary", "errorDescription")
_DATA_WORDS: Final = ("error_title", "error_subtitle", "error_message", "title", "message")
_ADDRESSES_MAX: Final = 20


def number(value: object) -> int:
    """Return a whole number, or one written as text; 0 for any other value."""
    whole = isinstance(value, float) and value.is_integer()
    text = f"{value:.0f}" if whole else str(value)
    return int(text) if _NUMBER.fullmatch(text) else 0


def error_in(body: Mapping[str, object]) -> Error | None:
    """Return the error of an answer, ``None`` if it has none."""
    several = body.get("errors")
    told = body.get("error") or (several[0] if isinstance(several, list) and several else None)
    is_legacy = not told
    if is_legacy:
        told = body if number(body.get("error_code")) else None
    if not told:
        return None
    if not isinstance(told, Mapping):
        summary, description = (body.get(name) for name in _WEB_WORDS)
        told = {"code": told, "message": told, "summary": summary, "description": description}
    return _error(told, is_legacy=is_legacy)


def _error(told: Mapping[str, object], *, is_legacy: bool) -> Error | None:
    data = parsed(told.get("error_data"))
    said = [told.get(name) for name in _WORDS] + [data.get(name) for name in _DATA_WORDS]
    words = " ".join(" ".join(each for each in said if isinstance(each, str)).split())
    code = number(told.get("code") or told.get("error_code"))
    subcode = number(told.get("error_subcode"))
    if not (code or subcode or words or data):
        return None
    return Error(
        is_legacy=is_legacy,
        code=code,
        subcode=subcode,
        words=words[:WORDS_MAX].lower().replace("\u2019", "'"),
        is_transient=told.get("is_transient") is True,
        speaks=bool(told.get("error_user_msg") or told.get("error_user_title")),
        data=data,
        leads_to=tuple(_paths(data)),
        has_factor="login_first_factor" in brought(data),
    )


def _paths(data: Mapping[str, object]) -> Iterator[str]:
    """Yield the paths of the addresses in an ``error_data``."""
    for value in list(data.values())[:_ADDRESSES_MAX]:
        if isinstance(value, str) and value.startswith(("http://", "https://", "/")):
            try:
                yield urlsplit(value).path.lower()
            except ValueError:
                continue


def sign_of(error: Error) -> Sign | None:
    """Return the meaning of an error, if it is known."""
    return next((sign for sign in MEANINGS if sign.fits(error)), None)
