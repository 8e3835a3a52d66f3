"""Reading of requests and writing of responses in the gateway.

Every fault of a request becomes an `ApiError`, and every `ApiError` becomes the error envelope of
the catalogue; no error response of Starlette's own is sent. The envelope repeats no text of the
caller.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from checkpoint_worker.providers.http.strict_json import JsonError, parse
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import Actor, Pair, error_body
from checkpoint_worker.tasks.records import Outcome

JSON: Final = "application/json"
BODY_S: Final = 10.0
"""Timeout for receiving a body of any size."""
DRAIN_BYTES: Final = 16 * 1024 * 1024
"""Maximum number of bytes of a too large body that are still received and dropped, because most
callers read the response only after they have sent everything."""
DEPTH_MAX: Final = 32
"""Maximum nesting of a body; a challenge context has four levels."""
CONTAINERS_MAX: Final = 8_192
"""Maximum number of objects and lists in a body, counted by opening brackets: parsing costs time
for each."""
VALUES_MAX: Final = 32_768
"""Maximum number of values in a body, counted by commas."""
BODY_IN_SCOPE: Final = "checkpoint.body_bytes"
LIMIT_DEFAULT: Final = 100
PREFERENCES_MAX: Final = 16
NUMBER: Final = re.compile(r"-?[0-9]{1,4000}")
"""Pattern of an integer in a query, with few enough digits for Python's `int`, which also accepts
other forms."""

PAGE: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
"""Pattern of the id of a stream entry."""
PAGE_NUMBER_MAX: Final = 2**64 - 1
"""Largest number in the id of a stream entry; a larger one is an error of Redis."""

UNAUTHORIZED: Final = Pair(
    status=401,
    type="unauthorized",
    title="Unauthorized",
    detail="Send one of the gateway's API keys as X-API-KEY or as a bearer token.",
    who=Actor.CALLER,
)
NOT_FOUND: Final = Pair(
    status=404,
    type="not_found",
    title="Not found",
    detail="There is nothing here under this name.",
    who=Actor.CALLER,
)
METHOD_NOT_ALLOWED: Final = Pair(
    status=405,
    type="method_not_allowed",
    title="Method not allowed",
    detail="This address does not take this method.",
    who=Actor.CALLER,
)
TRANSPORT: Final = (UNAUTHORIZED, NOT_FOUND, METHOD_NOT_ALLOWED)
"""Errors of the transport itself: they have the same envelope and no row in the catalogue."""


class ApiError(Exception):
    """A request is answered with an error of the catalogue or of the transport.

    Args:
        pair: The row of the error.
        detail: A more precise sentence than the row's; it never contains text of the caller.
        instance: The submission id, where there is one.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        pair: Pair,
        detail: str | None = None,
        *,
        instance: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{pair.status} {pair.type}")
        self.pair, self.detail, self.instance = pair, detail, instance
        self.headers = dict(headers or {})


class ClientDisconnectedError(Exception):
    """The caller has closed the connection, so no response is sent."""


def refuse_form(detail: str) -> NoReturn:
    """Refuse a request for its form.

    Raises:
        ApiError: 400 ``invalid_parameters``.
    """
    raise ApiError(catalogue.INVALID_PARAMETERS, detail) from None


# Answers -------------------------------------------------------------------------------


def to_json(value: object) -> bytes:
    """Return a body in the JSON form of the records: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response whose body is a JSON value."""
    return Response(to_json(value), status, dict(headers or {}), JSON)


def record_response(
    record: Outcome, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response whose body is the record itself."""
    return Response(record.to_json(), status, dict(headers or {}), JSON)


def outcome_response(record: Outcome, headers: Mapping[str, str]) -> Response:
    """Return the response of a final record: its status and its body."""
    assert record.status is not None
    return json_response(record.body, record.status, headers)


def refusal_response(refusal: ApiError, request_id: str) -> Response:
    """Return the response of an error in the error envelope."""
    pair = refusal.pair
    body = error_body(pair, refusal.instance or request_id, refusal.detail)
    return json_response(body, pair.status, refusal.headers)


# Bodies --------------------------------------------------------------------------------


async def read_fields(request: Request, names: Collection[str], bytes_max: int) -> dict[str, Any]:
    """Read a body that is a JSON object with some of these fields.

    An unknown field is refused, because a misspelt one (`proxy`, for example) must not be ignored
    silently. The client validates the values.

    Raises:
        ApiError: 400.
        ClientDisconnectedError: The caller closed the connection before the body was complete.
    """
    kinds = request.headers.getlist("content-type")
    if len(kinds) != 1 or not _is_json(kinds[0]):
        refuse_form("Send the body as JSON, with `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        refuse_form("Send the body as it is, without a Content-Encoding.")
    fields = parse_object(await _read_body(request, bytes_max))
    if not fields.keys() <= set(names):
        refuse_form(f"Unknown field; the fields are {', '.join(names)}.")
    return fields


def _is_json(kind: str) -> bool:
    name, *parameters = (part.strip().lower() for part in kind.split(";"))
    charsets = [each.partition("=")[2].strip('" ') for each in parameters if "charset" in each]
    return name == JSON and set(charsets) <= {"utf-8", "utf8"}


async def _read_body(request: Request, bytes_max: int) -> bytes:
    length = request.headers.get("content-length", "0")
    too_large = len(length) > len(str(DRAIN_BYTES)) or int(length) > bytes_max
    if too_large and "expect" in request.headers:
        _refuse_size(bytes_max)  # The caller waits for 100 Continue before it sends the body.
    chunks: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_S):
            while more and size <= (DRAIN_BYTES if too_large else bytes_max):
                chunk, more = await _next_chunk(request)
                size += len(chunk)
                too_large = too_large or size > bytes_max
                if too_large:
                    chunks.clear()
                else:
                    chunks.append(chunk)
    except TimeoutError:
        refusal = f"The body did not arrive within {BODY_S:g} s."
        raise ApiError(
            catalogue.INVALID_PARAMETERS, refusal, headers={"Connection": "close"}
        ) from None
    if too_large:
        _refuse_size(bytes_max)
    request.scope[BODY_IN_SCOPE] = size
    return b"".join(chunks)


async def _next_chunk(request: Request) -> tuple[bytes, bool]:
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectedError
    return message.get("body", b""), message.get("more_body", False)


def _refuse_size(bytes_max: int) -> NoReturn:
    msg = f"The body is over {bytes_max:,} bytes (CHECKPOINT_REQUEST_BYTES_MAX)."
    raise ApiError(catalogue.CONTENT_TOO_LARGE, msg, headers={"Connection": "close"})


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object, read strictly: names once, finite numbers, bounds.

    Raises:
        ApiError: 400 ``invalid_parameters``.
    """
    if raw.count(b"{") + raw.count(b"[") > CONTAINERS_MAX or raw.count(b",") > VALUES_MAX:
        refuse_form(f"The body has over {CONTAINERS_MAX:,} objects or {VALUES_MAX:,} values.")
    try:
        value = parse(raw, DEPTH_MAX, names_once=True)
    except JsonError as error:
        refuse_form(f"The body cannot be read: {error}.")
    if not isinstance(value, dict):
        refuse_form("The body must be a JSON object.")
    return value


def whole(number: object) -> object:
    """Return a number without a fraction as an integer: in JSON, 1.0 is an integer."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


# Addresses -----------------------------------------------------------------------------


def root_of(request: Request) -> str:
    """Return the path below which callers reach the gateway, as a URL has it; empty for ``/``.

    It has no doubled slash, because a URL that begins with two names a host. A backend may mount
    the gateway below text of the caller (``/{tenant}``), which the server has decoded.
    """
    return quote(re.sub("/{2,}", "/", request.scope.get("root_path", ""))).rstrip("/")


# Headers and queries -------------------------------------------------------------------


def read_idempotency_key(request: Request) -> str | None:
    """Return the Idempotency-Key, which becomes the submission id, without its quotes.

    Raises:
        ApiError: 400: the header is given more than once.
    """
    given = request.headers.getlist("idempotency-key")
    if len(given) > 1:
        refuse_form("Send one Idempotency-Key.")
    if not given:
        return None
    key = given[0].strip()
    quoted = len(key) > 1 and key.startswith('"') and key.endswith('"')
    return key[1:-1] if quoted else key


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """The preferences of a request (RFC 7240).

    Attributes:
        respond_async: Answer 202 with the record instead of waiting for the outcome.
        wait_s: Time for which a request with ``respond_async`` waits for the outcome first.
        cancel_on_disconnect: Cancel the submission if the caller disconnects while it waits.
    """

    respond_async: bool = False
    wait_s: int = 0
    cancel_on_disconnect: bool = False

    @property
    def applied(self) -> dict[str, str]:
        """The response header that lists the applied preferences."""
        words = ["respond-async"] * self.respond_async
        words += [f"wait={self.wait_s}"] * (self.wait_s > 0)
        words += ["cancel-on-disconnect"] * self.cancel_on_disconnect
        return {"Preference-Applied": ", ".join(words)} if words else {}


def read_preferences(request: Request) -> Preferences:
    """Read ``Prefer``; an unknown preference is ignored, as the RFC requires."""
    words: dict[str, str] = {}
    for part in ",".join(request.headers.getlist("prefer")).split(",")[:PREFERENCES_MAX]:
        name, _, value = part.partition(";")[0].partition("=")
        words.setdefault(name.strip().lower(), value.strip().strip('"'))
    respond_async = "respond-async" in words
    wait = words.get("wait", "")
    counts = respond_async and wait.isascii() and wait.isdigit() and len(wait) < len("10000")
    return Preferences(
        respond_async=respond_async,
        wait_s=int(wait) if counts else 0,
        cancel_on_disconnect="cancel-on-disconnect" in words,
    )


def read_query(request: Request, name: str) -> str | None:
    """Return a parameter of the query, ``None`` where it is absent.

    Raises:
        ApiError: 400: it is given twice.
    """
    given = request.query_params.getlist(name)
    if len(given) > 1:
        refuse_form(f"`{name}` is given twice.")
    return given[0] if given else None


def read_limit(request: Request) -> int:
    """Return the limit of a listing.

    Raises:
        ApiError: 400: it is no integer.
    """
    text = read_query(request, "limit")
    if text is None:
        return LIMIT_DEFAULT
    if not NUMBER.fullmatch(text):
        refuse_form("`limit` must be an integer.")
    return int(text)


def read_after(request: Request) -> str:
    """Return the start of a page, which is ``next`` of the page before; empty for the newest.

    Raises:
        ApiError: 400: it is no id of a stream entry.
    """
    text = read_query(request, "after")
    if text is None:
        return ""
    numbers = [int(number) for number in text.split("-")] if PAGE.fullmatch(text) else []
    if not 0 < max(numbers, default=0) <= PAGE_NUMBER_MAX:  # No entry has the id 0-0.
        refuse_form("`after` is the `next` of a page before.")
    return text


# The wait for a caller ------------------------------------------------------------------


async def client_disconnected(request: Request) -> None:
    """Return when the caller has closed the connection. The body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
