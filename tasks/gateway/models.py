"""The JSON Schemas of the gateway's requests and responses.

The gateway accepts the fields that the schemas of the requests name; the schema of a record is made
from `Outcome`, and that of a challenge context from its adapter's model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from checkpoint_worker.providers import LIVE_SESSION, adapter_for, adapters
from checkpoint_worker.providers.contract import CHECKPOINT_KEY, TRY_ANOTHER_WAY
from checkpoint_worker.providers.sessions import Session, SessionCookie
from checkpoint_worker.tasks.catalogue import Success
from checkpoint_worker.tasks.client import IntentInfo
from checkpoint_worker.tasks.model import Purpose
from checkpoint_worker.tasks.operations.validation import (
    ACCOUNT_ID_MAX,
    CODE_MAX,
    USER_ID_MAX,
    WORD_MAX,
)
from checkpoint_worker.tasks.records import Outcome
from checkpoint_worker.tasks.storage.stream import LOOKED_AT_MAX

Schema = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"
COMPLETE: Final = (Success.CREATED, Success.RECONNECTED)
ACCOUNT: Final = "acc_01HXYZ4QK3WJ8FN3M6QH7TZ8GR"
CONTROLS: Final = r"\u0000-\u001f\u007f-\u009f"
LINE: Final = f"^[^{CONTROLS}]+$"
LINE_PATTERN: Final = re.compile(LINE.removesuffix("$") + r"\Z")
CODE: Final = rf"^[^{CONTROLS}]*[^\s{CONTROLS}][^{CONTROLS}]*$"
"""Pattern of a code: one line that is not blank; the white space around it is trimmed."""


def ref(name: str) -> Schema:
    """Return a reference to a named schema."""
    return {"$ref": SCHEMAS + name}


# Requests ------------------------------------------------------------------------------


def account_fields() -> Schema:
    """Return the schemas of ``account_id`` and ``provider``."""
    return {
        "account_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": ACCOUNT_ID_MAX,
            "pattern": LINE,
            "description": "Whose account: opaque, without control characters.",
            "examples": [ACCOUNT],
        },
        "provider": {"type": "string", "enum": list(adapters())},
    }


def _submission_request() -> Schema:
    return _closed(
        {
            **account_fields(),
            "code": {
                "type": "string",
                "minLength": 1,
                "maxLength": CODE_MAX,
                "pattern": CODE,
                "description": (
                    "What the person typed: a code, a backup code, a phone number where the"
                    f" checkpoint asks for one, or `{TRY_ANOTHER_WAY}`. Decimal digits of every"
                    " script count, invisible marks do not; where the source has a form for"
                    " its code, spaces, dashes and punctuation around it do not count either."
                ),
                "examples": ["123456"],
            },
            "checkpoint_step": {
                "type": ["integer", "null"],
                "description": "Which step it answers; another one than the current is refused.",
            },
        },
        required=("account_id", "provider", "code"),
    )


def _intent_request(provider: str, contexts: Iterable[str]) -> Schema:
    word = {"type": "string", "minLength": 1, "maxLength": WORD_MAX, "pattern": LINE}
    return _closed(
        {
            **account_fields(),
            "provider": {"type": "string", "const": provider},
            "checkpoint": {
                "type": "object",
                "properties": {
                    "type": {**word, "examples": ["OTP"]},
                    "source": {**word, "type": ["string", "null"], "examples": ["EMAIL"]},
                },
                "required": ["type"],
            },
            "context": {
                "description": "What the first step of the login knows; sealed at once.",
                "anyOf": [{"$ref": SCHEMAS + name} for name in contexts],
            },
            "proxy": {
                "type": ["string", "null"],
                "description": "An http, https, socks5 or socks5h URL; sealed at once.",
            },
            "purpose": {"enum": [*(each.value for each in Purpose), None]},
            "user_id": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": USER_ID_MAX,
                "pattern": LINE,
                "description": "The provider's id that the account must turn out to have.",
            },
        },
        required=("account_id", "provider", "checkpoint", "context"),
    )


def _session_request() -> Schema:
    return _closed(account_fields(), required=("account_id", "provider"))


def _closed(properties: Schema, *, required: Iterable[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


SUBMISSION_FIELDS: Final = tuple(_submission_request()["properties"])
INTENT_FIELDS: Final = tuple(_intent_request("", ())["properties"])
SESSION_FIELDS: Final = tuple(_session_request()["properties"])


# Answers -------------------------------------------------------------------------------


def make_schemas() -> Schema:
    """Return every named schema."""
    contexts, by_provider = _contexts()
    sessions = _sessions()
    requests = {
        f"{name}IntentRequest": _intent_request(name, used) for name, used in by_provider.items()
    }
    record = _response_schema(Outcome)
    account = {"account_id": {"type": "string"}}
    return {
        "Error": _error_schema(),
        **{success.object: _object(success.object, account) for success in COMPLETE},
        "Checkpoint": _object(
            Success.CHECKPOINT.object,
            {
                **account,
                "checkpoint": {
                    "type": "object",
                    "properties": {"type": {"type": "string"}, "source": {"type": _MAYBE_TEXT}},
                    "required": ["type", "source"],
                },
            },
        ),
        **record.pop("$defs"),
        "Record": record,
        "OutcomeList": _object(
            "OutcomeList",
            {
                "items": {"type": "array", "items": ref("Record")},
                "next": {
                    "type": _MAYBE_TEXT,
                    "description": (
                        "`after` of the next page, null where there is none. A page looks at"
                        f" {LOOKED_AT_MAX:,} records at most: of one account it may hold fewer than"
                        " `limit`, also none, and have a next one."
                    ),
                },
            },
        ),
        "Intent": _intent_schema(),
        "Session": _object(
            "Session",
            {
                **account,
                "provider": {"type": "string"},
                "session": {"anyOf": [*map(ref, sessions), ref("OtherSession")]},
            },
        ),
        "SubmissionRequest": _submission_request(),
        "SessionRequest": _session_request(),
        **requests,
        **contexts,
        **sessions,
        "SessionCookie": _serialised(SessionCookie),
        "OtherSession": _OTHER_SESSION,
    }


def _error_schema() -> Schema:
    return {
        "type": "object",
        "properties": {
            "object": {"const": "Error"},
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "req_id": {"type": "string"},
        },
        "required": ["object", "type", "title", "status", "instance", "req_id"],
    }


_MAYBE_TEXT: Final = ["string", "null"]
_OTHER_SESSION: Final[Schema] = {
    "type": "object",
    "description": (
        "A session of a live session, of a plug-in without a model, or one that was sealed by an"
        " earlier version: what it handed over."
    ),
    "properties": {"provider": {"type": "string"}, "user_id": {"type": "string"}},
}


def _sessions() -> Schema:
    """Return the schema of every provider's session by its name."""
    models = (getattr(adapter, "session", None) for adapter in adapters().values())
    known = [each for each in models if isinstance(each, type) and issubclass(each, Session)]
    return {model.__name__: _serialised(model) for model in known if model is not Session}


def _serialised(model: type[BaseModel]) -> Schema:
    """Return the schema of what is handed over, its parts by reference."""
    schema = _response_schema(model)
    schema.pop("$defs", None)
    return schema


def _object(kind: str, properties: Schema) -> Schema:
    named = {"object": {"const": kind}, **properties}
    return {"type": "object", "properties": named, "required": list(named)}


def _response_schema(model: type[BaseModel]) -> Schema:
    """Return the schema of a response, in which every field is always present."""
    schema = model.model_json_schema(
        by_alias=True, mode="serialization", ref_template=SCHEMAS + "{model}"
    )
    for each in (schema, *schema.get("$defs", {}).values()):
        if "properties" in each:
            each["required"] = list(each["properties"])
    return schema


def _intent_schema() -> Schema:
    schema = _response_schema(IntentInfo)
    inner = schema.pop("$defs")
    # Enumerations are inlined, so that the document does not name them.
    for name, value in schema["properties"].items():
        if "$ref" in value:
            schema["properties"][name] = inner[value["$ref"].removeprefix(SCHEMAS)]
    schema["properties"] = {"object": {"const": "Intent"}, **schema["properties"]}
    schema["required"] = list(schema["properties"])
    return schema


def _contexts() -> tuple[Schema, dict[str, list[str]]]:
    """Return the schemas of all contexts, and the names of the contexts of each provider."""
    used: list[tuple[str, type[BaseModel], list[str]]] = []
    for provider, adapter in adapters().items():
        models: dict[str, type[BaseModel]] = dict(adapter.contexts)
        live = adapter_for(provider, LIVE_SESSION)
        models |= dict(live.contexts) if live is not None else {}
        used += [
            (provider, model, [name for name in models if models[name] is model])
            for model in dict.fromkeys(models.values())
        ]
    refs, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(model for _, model, _ in used)],
        ref_template=SCHEMAS + "{model}",
    )
    schemas: Schema = definitions["$defs"]
    by_provider: dict[str, list[str]] = {}
    for provider, model, routes in used:
        name = refs[model, "validation"]["$ref"].removeprefix(SCHEMAS)
        by_provider.setdefault(provider, []).append(name)
        _name_routes(schemas[name], routes)
    return schemas, by_provider


def _name_routes(schema: Schema, routes: list[str]) -> None:
    """Set the routes that use a context; the default route is `http`."""
    route = schema["properties"]["route"]
    kept = {key: route[key] for key in ("title", "description", CHECKPOINT_KEY) if key in route}
    schema["properties"]["route"] = {"enum": routes, "examples": routes[-1:], **kept}
    if "http" not in routes:
        schema["required"] = sorted({*schema.get("required", ()), "route"})
