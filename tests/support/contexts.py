"""The contexts of the providers: their examples, and the tables of the providers' pages.

The table between ``<!-- context -->`` and ``<!-- /context -->`` of each page is written from the
models:

    python -m tests.support.contexts            # writes the tables of all pages
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from checkpoint_worker.providers import LIVE_SESSION, adapter_for, adapters
from checkpoint_worker.providers.contract import CHECKPOINT_KEY, KEPT_KEY, RULE_KEY, Context

ROOT: Final = Path(__file__).parents[2]
PROVIDERS: Final = ("LINKEDIN", "INSTAGRAM", "TWITTER", "MESSENGER")
CONTEXTS: Final[Mapping[tuple[str, str], type[Context]]] = {
    (provider, route): model
    for provider in PROVIDERS
    for held in (adapters()[provider], adapter_for(provider, LIVE_SESSION))
    if held is not None
    for route, model in held.contexts.items()
    if route != LIVE_SESSION or provider == PROVIDERS[0]  # It is the same for each of them.
}
PAGES: Final = (*PROVIDERS, LIVE_SESSION)
"""Folders whose page has the tables of its contexts."""
_PLACE: Final = re.compile(r"(<!-- context -->\n).*?(<!-- /context -->)", re.DOTALL)
_BOUNDS: Final = {
    "maxLength": "at most {:,} characters",
    "maxItems": "at most {:,} entries",
    "maxProperties": "at most {:,} entries",
    "minimum": "at least {}",
    "maximum": "at most {}",
}

Schema = Mapping[str, Any]


@functools.cache
def schema_of(model: type[BaseModel]) -> Schema:
    """Return the schema of a model; making one takes milliseconds, and each field has tests."""
    return model.model_json_schema()


def example(model: type[Context], *, required: bool = False) -> dict[str, Any]:
    """Return a context of the fields' examples.

    Args:
        model: Its model.
        required: Whether to leave out every field that a context may leave out.
    """
    return {
        name: copy.deepcopy(field["examples"][0])
        for name, field in schema_of(model)["properties"].items()
        if not required or is_needed(model, name)
    }


def is_needed(model: type[Context], name: str) -> bool:
    """Whether a field cannot be left out, or its default does for some contexts alone."""
    field = model.model_fields[name]
    return field.is_required() or bool(field.validate_default)


def _rule(name: str, schema: Schema, model: type[Context]) -> str:
    field = schema["properties"][name]
    bounds = [text.format(field[key]) for key, text in _BOUNDS.items() if key in field]
    told = [field[RULE_KEY]] if RULE_KEY in field else []
    if is_needed(model, name) and field.get("default") != "":
        told.insert(0, "required")
    elif field.get("default") not in (None, "", False, []) and name != "route":
        told.append(f"`{json.dumps(field['default'])}` if left out")
    if name == "headers" and model.made_headers:
        made = ", ".join(f"`{each}`" for each in sorted(model.made_headers))
        told.append(f"never {made}")
    if field.get("type") == "boolean":
        told.append("true or false")
    words = [f"`{word}`" for word in field.get("enum", ()) if name != "route"]
    return "; ".join([*told, *([" or ".join(words)] if words else []), *bounds]) or "-"


def _rows(models: Mapping[str, type[Context]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each field of each route: the route, and the cells of the field's row."""
    for route, model in models.items():
        schema = schema_of(model)
        for name, field in schema["properties"].items():
            if name != "route":
                value = json.dumps(field["examples"][0])
                what = f"{field['description']} `{value}`"
                cells = (f"`{name}`", what, _rule(name, schema, model), field.get(KEPT_KEY, "-"))
                yield route, cells


def table(name: str) -> str:
    """Return the tables of a page of `PAGES`: its routes, and the fields of their contexts."""
    models: dict[str, type[Context]] = {}
    held = adapter_for(PROVIDERS[0], name) if name == LIVE_SESSION else adapters()[name]
    assert held is not None
    for route, model in held.contexts.items():
        models = {name: each for name, each in models.items() if each is not model}
        models[route] = model  # Of a model's names the last one is its own.
    lines = ["| `route` | what | `checkpoint.type`: `checkpoint.source` |", "|---|---|---|"]
    for route, model in models.items():
        field = schema_of(model)["properties"]["route"]
        lines.append(f"| `{route}` | {field['description']} | {field[CHECKPOINT_KEY]} |")
    several = len(models) > 1
    heads = ["field", *(["routes"] if several else []), "what, and an example", "rule"]
    lines += ["", f"| {' | '.join([*heads, 'where clients keep it'])} |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    found: dict[tuple[str, ...], list[str]] = {}
    for route, cells in _rows(models):
        found.setdefault(cells, []).append(route)
    for (field, *cells), routes in found.items():
        where = "all" if len(routes) == len(models) else ", ".join(routes)
        lines.append("| " + " | ".join([field, *([where] if several else []), *cells]) + " |")
    return "\n".join(lines)


def page_of(name: str) -> Path:
    """Return a page of `PAGES`."""
    return ROOT / "providers" / name.lower() / "README.md"


def with_table(page: str, name: str) -> str:
    """Return the text of a page with its tables."""
    return _PLACE.sub(lambda found: f"{found[1]}{table(name)}\n{found[2]}", page)


if __name__ == "__main__":
    for each in PAGES:
        there = page_of(each)
        there.write_text(with_table(there.read_text("utf-8"), each), "utf-8")
