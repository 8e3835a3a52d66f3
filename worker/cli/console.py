"""Output of the command line: data on stdout, messages on stderr, one label for each outcome.

The module imports little, so that simple commands start fast. Colour and progress appear on a
terminal only; ``NO_COLOR`` disables colour everywhere (https://no-color.org).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from checkpoint_worker.tasks.catalogue import kind_of

GAP: Final = "  "
"""Space between two columns of a table."""
CLIENT_ERROR: Final = 400
CONFLICT: Final = 409


def wants_no_colour() -> bool:
    """Return whether ``NO_COLOR`` is set to a non-empty value."""
    return bool(os.environ.get("NO_COLOR"))


def status_line(text: str = "") -> None:
    """Print a message to stderr."""
    click.echo(text, err=True)


def drop_unwritten() -> None:
    """Drop output that cannot be written, which the interpreter would try again at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def output(text: str) -> None:
    """Print data to stdout and flush it, so that a pipe receives it at once."""
    click.echo(text)


def output_json(value: object) -> None:
    """Print one JSON value on one line."""
    output(json.dumps(value, ensure_ascii=False))


def outcome_label(status: int | None, body: Mapping[str, Any] | None, state: str = "") -> str:
    """Return an outcome as status and type: ``201 AccountCreated``, ``401 invalid_…``.

    Args:
        status: The status of a final record or an error, else ``None``.
        body: The body of that record or error.
        state: The text to return if there is no status.
    """
    if status is None or body is None:
        return state
    return f"{status} {kind_of(body)}"


def coloured(text: str, status: int | None) -> str:
    """Colour a text by its status: success, superseded, failure, or no status."""
    if status is None:
        return click.style(text, fg="cyan")
    if status < CLIENT_ERROR:
        return click.style(text, fg="green")
    return click.style(text, fg="yellow" if status == CONFLICT else "red")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out rows in columns. A cell may be coloured and may hold several lines."""
    cells = [[cell.split("\n") for cell in row] for row in (head, *rows)]
    widths = [
        max(len(click.unstyle(line)) for row in cells for line in row[column])
        for column in range(len(head))
    ]
    lines = [line for row in cells for line in _lines(row, widths)]
    lines.insert(1, GAP.join("-" * width for width in widths))
    return "\n".join(lines)


def _lines(row: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterable[str]:
    for number in range(max(map(len, row))):
        parts = [cell[number] if number < len(cell) else "" for cell in row]
        padded = (
            part + " " * (width - len(click.unstyle(part)))
            for part, width in zip(parts, widths, strict=True)
        )
        yield GAP.join(padded).rstrip()


def put_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values, one pair per line."""
    width = max(map(len, pairs))
    for name, value in pairs.items():
        output(f"  {name:{width}}  {value}")


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show a text on a terminal while the block runs, then erase it."""
    live = sys.stderr.isatty()
    if live:
        click.echo(text, err=True, nl=False)
    try:
        yield
    finally:
        if live:
            click.echo(f"\r{' ' * len(text)}\r", err=True, nl=False)
