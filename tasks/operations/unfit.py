"""The sentence for a challenge context that does not fit its model.

It names each field, its rule and the mend. The names of fields are the only words of the caller's
in it: no value of a context is repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from checkpoint_worker.providers import BUILT_IN, LIVE_SESSION, adapter_for
from checkpoint_worker.providers.contract import KEPT_KEY, RULE_KEY, TOLD_RULE, Context

FIELDS_NAMED: Final = 8
"""Number of invalid fields that a refusal names."""
FIELD_NAME_MAX: Final = 80
"""Characters of each field's name in a refusal: the caller chooses the names."""
UNKNOWN: Final = "extra_forbidden"

_BOUNDS: Final[Mapping[str, str]] = {
    "string_too_short": "must not be empty",  # No field asks for more than one character.
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
_KINDS: Final = (
    ("invalid_key", "must have a string as its name"),
    ("string_type", "must be a string; write a number as text, leave out null"),
    ("string_unicode", "must be valid Unicode text"),
    ("bool", "must be true or false"),
    ("int", "must be a whole number"),
    ("float", "must be a number"),
    ("mapping", "must be an object of texts by name"),
    ("dict", "must be an object of texts by name"),
    ("model", "must be an object"),
    ("tuple", "must be a list"),
)
"""Beginnings of pydantic's error types, with the rule that each of them means."""
_PLACE: Final = re.compile(r"`(?:state\.)?(\w+)")


def why_unfit(
    provider: str, model: type[Context], error: ValidationError, context: Mapping[str, object]
) -> str:
    """Return the sentence for a context that its model refuses.

    Args:
        provider: The provider of the context.
        model: The model of its route.
        error: The error that validation raised.
        context: The caller's value; its names are read, and none of its values.
    """
    items = error.errors(include_input=False, include_url=False)
    broken = {item["loc"]: item for item in items}
    places = _places(model)

    def rank(item: ErrorDetails) -> tuple[bool, bool, str]:
        is_unknown = item["type"] == UNKNOWN
        return is_unknown, is_unknown and item["loc"][-1] not in places, str(item["loc"])

    # Of a whole settings file, the fields come first that the caller can do something about.
    named = sorted(broken.values(), key=rank)[:FIELDS_NAMED]
    fields = "; ".join(
        ".".join(map(str, ("context", *item["loc"])))[:FIELD_NAME_MAX]
        + f" {_rule(model, item)}".rstrip()
        for item in named
    )
    more = f"; and {len(broken) - len(named)} more" if len(broken) > len(named) else ""
    has_unknown = any(item["type"] == UNKNOWN for item in broken.values())
    other = _fitting(provider, model, context) if has_unknown else ""
    return f"These fields of the challenge context do not fit: {fields}{more}.{other}"


@cache
def _places(model: type[Context]) -> Mapping[str, str]:
    """Return the names under which client libraries keep what a field holds, with the field's."""
    return {
        place: name
        for name, field in reversed(model.model_fields.items())
        for place in _PLACE.findall(_extra(field).get(KEPT_KEY, ""))
    }


def _rule(model: type[Context], item: ErrorDetails) -> str:
    """Return the rule that a field breaks, with the mend."""
    kind, field = item["type"], _field(model, item["loc"])
    if kind == TOLD_RULE:
        return item["msg"]
    if kind == UNKNOWN:
        return _unknown(model, str(item["loc"][-1]))
    description = (field.description if field is not None else None) or ""
    if kind == "missing":
        return f"is missing: {description.rstrip('.')}" if description else "is missing"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format_map(item.get("ctx", {}))
    usual = next((each for start, each in _KINDS if kind.startswith(start)), "")
    own = _extra(field).get(RULE_KEY)
    return own if own and not kind.startswith(("string_type", "string_unicode")) else usual


def _field(model: type[BaseModel], loc: tuple[int | str, ...]) -> Any:  # noqa: ANN401  FieldInfo
    """Return the field at a place, ``None`` inside of an object of texts."""
    field = model.model_fields.get(str(loc[0])) if loc else None
    if field is None or len(loc) == 1:
        return field
    inner = next((each for each in get_args(field.annotation) if _is_model(each)), None)
    return _field(inner, loc[2:]) if inner is not None else None


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _extra(field: Any) -> Mapping[str, str]:  # noqa: ANN401  FieldInfo
    extra = field.json_schema_extra if field is not None else None
    return extra if isinstance(extra, dict) else {}


def _unknown(model: type[Context], name: str) -> str:
    """Return the mend for a field that the model does not have."""
    if (known := _places(model).get(name)) is not None:
        return f"is unknown here; it goes into `{known}`"
    near = get_close_matches(name[:FIELD_NAME_MAX], model.model_fields, n=1)
    return f"is unknown here; {f'perhaps `{near[0]}`' if near else 'leave it out'}"


def _fitting(provider: str, model: type[Context], context: Mapping[str, object]) -> str:
    """Return the sentence that names the route or provider whose fields these are, if any."""
    names = {name for name in context if name != "route"}
    found: list[tuple[bool, str]] = []
    for whose, route, other in _others(provider, model):
        fields = other.model_fields
        needed = {name for name in fields if fields[name].is_required()} - {"route"}
        if needed and needed <= names <= fields.keys():
            said = f" These are fields of another route: set `route` to `{route}`."
            if whose != provider:
                said = f" These are fields of {whose}, route `{route}`."
            found.append((_fits(other, {**context, "route": route}), said))
    return max(found, key=lambda each: each[0])[1] if found else ""


def _fits(model: type[Context], context: Mapping[str, object]) -> bool:
    try:
        model.model_validate(context)
    except ValidationError:
        return False
    return True


def _others(provider: str, model: type[Context]) -> Iterator[tuple[str, str, type[Context]]]:
    """Yield provider, name and model of each other route, those of the provider first.

    Plug-ins of other providers are left out, because a refusal shall not depend on their import.
    """
    for whose in dict.fromkeys((provider, *BUILT_IN)):
        for adapter in (adapter_for(whose), adapter_for(whose, LIVE_SESSION)):
            for route, other in adapter.contexts.items() if adapter is not None else ():
                if other is not model:
                    yield whose, route, other
