"""Files of the simulated pages: templates that are filled in, scripts and styles as they stand.

Every value that is filled in is escaped but for parts that are `Html` already.
"""

from __future__ import annotations

import functools
import importlib.resources
import string
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: Final = {"js": "text/javascript", "css": "text/css"}
_HEADERS: Final = {
    # As sites of this kind have it: no script or style in the page itself, nothing kept.
    "Content-Security-Policy": (
        "default-src 'self'; img-src data:; frame-ancestors 'self'; form-action 'self'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The input that takes the code.

    Attributes:
        id: Its id.
        name: Its name, which is the code's on the wire.
        label: Text of its label.
        length: Characters of a code.
        more: Further attributes.
    """

    id: str
    name: str
    label: str
    length: int = 6
    more: Mapping[str, str | bool] = field(default_factory=dict)


@functools.cache
def _read(name: str) -> str:
    pages = importlib.resources.files(__package__).joinpath("pages")
    return pages.joinpath(name).read_text("utf-8")


def fill(name: str, **values: str) -> Html:
    """Return a template with its values.

    Raises:
        KeyError: It wants a value that is not given.
    """
    safe = {key: each if isinstance(each, Html) else escape(each) for key, each in values.items()}
    return Html(string.Template(_read(f"{name}.html")).substitute(safe))


def attributes(values: Mapping[str, str | bool]) -> Html:
    """Return attributes of an element; of those that are true or false the true ones' names."""
    said = [
        name if value is True else f'{name}="{escape(str(value))}"'
        for name, value in values.items()
        if value is not False
    ]
    return Html(" ".join(said))


def hidden(fields: Mapping[str, str]) -> Html:
    """Return hidden inputs."""
    return Html(
        "\n".join(
            f"<input {attributes({'type': 'hidden', 'name': name, 'value': value})}>"
            for name, value in fields.items()
        )
    )


def field_of(taken: Field, looks: frozenset[str], *, is_wrong: bool) -> Html:
    """Return the input for the code with its label, or the boxes in its place."""
    said: dict[str, str | bool] = {"data-code": True, "required": True, "inputmode": "numeric"}
    said["autocomplete"] = "off" if "bare" in looks else "one-time-code"
    if is_wrong:
        said["aria-invalid"] = "true"
    if "boxes" not in looks:
        said |= {"id": taken.id, "name": taken.name, "maxlength": str(taken.length), **taken.more}
        label = attributes({"for": taken.id})
        return Html(f"<label {label}>{escape(taken.label)}</label>\n<input {attributes(said)}>")
    boxes = [
        attributes(
            {
                **said,
                "class": "box",
                "maxlength": "1",
                "aria-label": f"Digit {number} of {taken.length}",
                "autocomplete": said["autocomplete"] if number == 1 else "off",
            }
        )
        for number in range(1, taken.length + 1)
    ]
    joined = attributes({"type": "hidden", "name": taken.name, "data-joined": True})
    inputs = "\n".join(f"<input {box}>" for box in boxes)
    legend = f"<legend>{escape(taken.label)}</legend>"
    return Html(f"<fieldset>{legend}\n{inputs}</fieldset>\n<input {joined}>")


def page(
    title: str, brand: str, main: Html, data: Mapping[str, str] | None = None, *, status: int = 200
) -> web.Response:
    """Answer with a page; ``data`` is what its script reads of the element ``body``."""
    told = attributes({f"data-{name}": value for name, value in (data or {}).items()})
    text = fill("page", title=title, brand=brand, main=main, data=told)
    return web.Response(status=status, text=text, content_type="text/html", headers=_HEADERS)


async def serve_file(request: web.Request) -> web.Response:
    """Answer with a script or a style."""
    name = request.match_info["name"]
    content_type = _TYPES.get(name.rpartition(".")[2])
    if content_type is None:
        return web.Response(status=404)
    try:
        text = _read(name)
    except OSError:
        return web.Response(status=404)
    return web.Response(text=text, content_type=content_type, headers=_HEADERS)
