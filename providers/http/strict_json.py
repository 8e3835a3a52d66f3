"""JSON of others, read strictly (RFC 8259): finite numbers, whole Unicode text, limited depth."""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Sequence
from typing import Any

DIGITS_MAX = 64
"""Digit limit: ids have up to 20, and turning thousands of digits into an int is quadratic."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Fault(enum.Enum):
    """Reasons for which a text is refused."""

    FORM = "not valid JSON in UTF-8"
    NUMBER = "a number is NaN, infinite or too long"
    TEXT = "half of a surrogate pair is no Unicode text"
    NAMES = "a field is given twice"
    DEPTH = "nested too deeply"


class JsonError(ValueError):
    """A text is refused. The error holds no part of the text.

    Args:
        fault: The reason.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def parse(
    raw: bytes, depth_max: int, *, names_once: bool = False, repairs_text: bool = False
) -> Any:  # noqa: ANN401  JSON is any
    """Return the value of a JSON text in UTF-8.

    Args:
        raw: The text.
        depth_max: How deep objects and lists may be nested. Python's parser fails near 1000.
        names_once: Whether to refuse an object with a name given twice: a proxy may have read the
            other value.
        repairs_text: Whether half a surrogate pair becomes a question mark instead of a refusal.

    Raises:
        JsonError: The text is not JSON, or it exceeds a bound.
    """
    value, fault = None, None
    try:
        value = json.loads(
            raw.decode(),
            parse_int=_int,
            parse_float=_float,
            parse_constant=_float,
            object_pairs_hook=_object if names_once else None,
        )
        if _SURROGATE.search(raw):
            # Half a surrogate pair parses, and then breaks any writer of UTF-8.
            text = json.dumps(value, ensure_ascii=False)
            whole = text.encode(errors="replace" if repairs_text else "strict")
            value = json.loads(whole) if repairs_text else value
        brackets = raw.count(b"[") + raw.count(b"{")  # Usually few.
        if brackets > depth_max and nests_deeper(value, depth_max):
            fault = Fault.DEPTH
    except RecursionError:
        fault = Fault.DEPTH
    except UnicodeEncodeError:
        fault = Fault.TEXT
    except JsonError as error:
        fault = error.fault
    except ValueError:
        fault = Fault.FORM
    if fault is not None:  # Outside the handlers, because the parser's error holds the whole text.
        raise JsonError(fault)
    return value


def nests_deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested more than ``levels`` deep in a JSON value."""
    if not isinstance(value, list | dict):
        return False
    if levels == 0:
        return True
    return any(
        nests_deeper(each, levels - 1)
        for each in (value.values() if isinstance(value, dict) else value)
    )


def _int(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise JsonError(Fault.NUMBER)
    return int(digits)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # Such as NaN, Infinity or 1e999.
        raise JsonError(Fault.NUMBER)
    return value


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise JsonError(Fault.NAMES)
    return made
