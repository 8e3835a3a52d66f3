"""The gateway's OpenAPI document, made from the catalogue, the record and the adapters' contexts.

The module repeats no definition: the errors and their examples are the catalogue's rows, the
record is `Outcome`, and the fields of a request are those that the gateway reads. Errors of the
transport itself are marked ``x-outside-catalogue``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from checkpoint_worker.providers import adapters
from checkpoint_worker.tasks import catalogue
from checkpoint_worker.tasks.catalogue import PAIRS, Pair, Success, error_body, success_body
from checkpoint_worker.tasks.client import LIMIT_MAX
from checkpoint_worker.tasks.gateway.http import (
    JSON,
    LIMIT_DEFAULT,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PAGE,
    TRANSPORT,
    UNAUTHORIZED,
)
from checkpoint_worker.tasks.gateway.models import (
    ACCOUNT,
    COMPLETE,
    Schema,
    account_fields,
    make_schemas,
    ref,
)
from checkpoint_worker.tasks.operations.validation import SUBMISSION_ID
from checkpoint_worker.tasks.records import Outcome, RecordState, timestamp
from checkpoint_worker.tasks.settings import Settings

SUBMISSION: Final = "sub_01M82ENBYQ4XR81J8GH82MRZGE"

INVALID: Final = (catalogue.INVALID_PARAMETERS,)
MISSING: Final = (*INVALID, catalogue.MISSING_PARAMETERS)
SENT: Final = (*MISSING, catalogue.CONTENT_TOO_LARGE)
EVENT: Final[Schema] = {
    "type": "object",
    "description": "One event; its data is the record as JSON. Comments are signs of life.",
    "properties": {
        "id": {"enum": [RecordState.QUEUED, RecordState.RUNNING, RecordState.FINAL]},
        "data": {"type": "string", "contentMediaType": JSON, "contentSchema": ref("Record")},
    },
    "required": ["id", "data"],
}
FAILING: Final = (
    UNAUTHORIZED,
    METHOD_NOT_ALLOWED,
    catalogue.INVALID_PARAMETERS,  # The server refuses invalid HTTP/1.1 for every path.
    catalogue.UNEXPECTED,
    catalogue.UNAVAILABLE,
)
"""Errors that every endpoint may answer."""
ACCOUNT_OFF: Final = (catalogue.FEATURE_NOT_SUBSCRIBED,)


def make_openapi(settings: Settings) -> Schema:
    """Return the document of one deployment.

    Args:
        settings: The settings; they decide whether the document requires API keys.
    """
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Checkpoint",
            "version": "1",
            "description": "Clear login checkpoints: one code in, exactly one outcome out.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": _paths(),
        "components": {
            "schemas": make_schemas(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-KEY"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    if settings.api_keys:
        document["security"] = [{"key": []}, {"bearer": []}]
    return document


# Addresses -----------------------------------------------------------------------------


def _paths() -> Schema:
    listed = {"name": "limit", "in": "query", "description": "How many, at most."}
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    submission = _in_path("submission_id", {"type": "string"})
    return {
        "/v1/accounts/checkpoint": {"post": _submit()},
        "/v1/submissions/{submission_id}": {
            "parameters": [submission],
            "get": _operation(
                "getSubmission",
                "Read the record of a submission.",
                {"200": _json("The record.", "Record", _record_examples())},
                (NOT_FOUND, *FAILING),
            ),
            "delete": _operation(
                "cancelSubmission",
                "Take a submission back. A code that has left may still be used.",
                {"200": _json("The record, final now or before.", "Record", _record_examples())},
                (NOT_FOUND, *FAILING),
            ),
        },
        "/v1/submissions/{submission_id}/events": {
            "parameters": [submission],
            "get": _events(),
        },
        "/v1/outcomes": {
            "get": _operation(
                "listOutcomes",
                "List the newest final records, newest first.",
                {"200": _json("The records.", "OutcomeList")},
                (*INVALID, catalogue.LIMIT_TOO_HIGH, *FAILING),
                parameters=[
                    {**listed, "schema": limit},
                    _in_query("account_id", account_fields()["account_id"], required=False),
                    _in_query(
                        "after", {"type": "string", "pattern": f"^{PAGE.pattern}$"}, required=False
                    ),
                ],
            )
        },
        "/v1/intents": {"post": _open(), "get": _intent()},
        "/v1/sessions": {"post": _take()},
        "/openapi.json": {
            "get": {
                **_operation(
                    "getOpenapi",
                    "This document.",
                    {"200": {"description": "OpenAPI 3.1.", "content": {JSON: {}}}},
                    (METHOD_NOT_ALLOWED, catalogue.INVALID_PARAMETERS, catalogue.UNEXPECTED),
                ),
                "security": [],
            }
        },
    }


def _submit() -> Schema:
    idempotency = "Becomes the submission id. The same one again gets the same outcome."
    prefer = (
        "`respond-async`: 202 with the record at once; with `wait=10` only if there is no outcome"
        " within 10 s. `cancel-on-disconnect`: to hang up takes the submission back."
    )
    return _operation(
        "submit",
        "Submit a code and wait for its outcome.",
        _successes(),
        (*PAIRS.values(), UNAUTHORIZED, METHOD_NOT_ALLOWED),
        parameters=[
            _in_header("Idempotency-Key", idempotency, f'^(?:"{_ID}"|{_ID})$'),
            _in_header("Prefer", prefer),
        ],
        body=ref("SubmissionRequest"),
        description=(
            "To hang up does not take the submission back: ask for it by its id, or send the"
            " same Idempotency-Key again."
        ),
    )


_ID: Final = SUBMISSION_ID.pattern


def _successes() -> Schema:
    checkpoint = success_body(Success.CHECKPOINT, ACCOUNT, {"type": "2FA", "source": "APP"})
    return {
        "201": {
            "description": "The code was accepted, the login is complete.",
            "content": {
                JSON: {
                    "schema": {"anyOf": [ref(each.object) for each in COMPLETE]},
                    "examples": {
                        each.object: {"value": success_body(each, ACCOUNT)} for each in COMPLETE
                    },
                }
            },
        },
        "202": {
            "description": "Another step (`Checkpoint`), or the record (`respond-async`).",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {
                JSON: {
                    "schema": {"anyOf": [ref("Checkpoint"), ref("Record")]},
                    "examples": {"Checkpoint": {"value": checkpoint}, **_record_examples()},
                }
            },
            "links": {
                "record": {
                    "operationId": "getSubmission",
                    "parameters": {"submission_id": "$response.header.X-Submission-ID"},
                }
            },
        },
    }


def _events() -> Schema:
    stream = {
        "description": "The record now, then each change, to the final one.",
        "content": {"text/event-stream": {"schema": EVENT}},
    }
    ended = {"description": "`Last-Event-ID: final`: the reader has seen the end."}
    return _operation(
        "streamSubmission",
        "Follow a submission as server-sent events.",
        {"200": stream, "204": ended},
        (NOT_FOUND, *FAILING),
        parameters=[_in_header("Last-Event-ID", "As a reader sends it that comes back.")],
    )


def _open() -> Schema:
    return _operation(
        "openIntent",
        "Open an intent: a login has stopped at a checkpoint. For the login service.",
        {"201": _json("The intent as it is now.", "Intent")},
        (*SENT, *ACCOUNT_OFF, *FAILING),
        body={
            "anyOf": [ref(f"{name}IntentRequest") for name in adapters()],
        },
    )


def _intent() -> Schema:
    fields = account_fields()
    return _operation(
        "getIntent",
        "Read where an intent stands.",
        {"200": _json("The intent.", "Intent")},
        (*MISSING, *ACCOUNT_OFF, NOT_FOUND, *FAILING),
        parameters=[_in_query(name, fields[name], required=True) for name in fields],
    )


def _take() -> Schema:
    key = "Who lost the answer may take it again for 60 s with the same key."
    return _operation(
        "takeSession",
        "Take the cookies and tokens of a finished login, once.",
        {"200": _json("The session.", "Session")},
        (*SENT, *ACCOUNT_OFF, NOT_FOUND, *FAILING),
        parameters=[_in_header("Idempotency-Key", key)],
        body=ref("SessionRequest"),
    )


# Parts ---------------------------------------------------------------------------------


def _operation(
    name: str,
    summary: str,
    successes: Mapping[str, Schema],
    pairs: Iterable[Pair],
    *,
    parameters: Iterable[Schema] = (),
    body: Schema | None = None,
    description: str | None = None,
) -> Schema:
    by_status: dict[int, list[Pair]] = {}
    for pair in dict.fromkeys(pairs):
        by_status.setdefault(pair.status, []).append(pair)
    errors = {str(status): _refused(status, by_status[status]) for status in sorted(by_status)}
    made: Schema = {
        "operationId": name,
        "summary": summary,
        "parameters": list(parameters),
        "responses": {**successes, **errors},
    }
    if description is not None:
        made["description"] = description
    if body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return made


def _refused(status: int, pairs: list[Pair]) -> Schema:
    outside = [f"errors/{pair.type}" for pair in pairs if pair in TRANSPORT]
    made: Schema = {
        "description": " ".join(pair.detail for pair in pairs),
        "content": {
            JSON: {
                "schema": {
                    "allOf": [
                        ref("Error"),
                        {
                            "properties": {
                                "status": {"const": status},
                                "type": {"enum": [f"errors/{pair.type}" for pair in pairs]},
                            }
                        },
                    ]
                },
                "examples": {pair.type: _error_example(pair) for pair in pairs},
            }
        },
    }
    if outside:
        made["x-outside-catalogue"] = outside
    if catalogue.UNAVAILABLE in pairs:
        told = "Seconds, where to try again may help."
        made["headers"] = {"Retry-After": {"description": told, "schema": {"type": "integer"}}}
    return made


def _error_example(pair: Pair) -> Schema:
    outside = ". Refused by the transport, outside the catalogue." if pair in TRANSPORT else "."
    return {"summary": pair.title + outside, "value": error_body(pair, SUBMISSION)}


def _json(description: str, schema: str, examples: Schema | None = None) -> Schema:
    content: Schema = {"schema": ref(schema)}
    if examples:
        content["examples"] = examples
    return {"description": description, "content": {JSON: content}}


def _in_path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, schema: Schema, *, required: bool) -> Schema:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _in_header(name: str, description: str, pattern: str | None = None) -> Schema:
    schema = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _record_examples() -> Schema:
    queued = Outcome(
        submission_id=SUBMISSION,
        account_id=ACCOUNT,
        provider="LINKEDIN",
        generation=1,
        seq=1,
        state=RecordState.QUEUED,
        queued_at=timestamp(1_795_377_600_000),
    )
    return {"queued": {"value": queued.model_dump(mode="json")}}
