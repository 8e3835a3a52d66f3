"""No module, class or function of the product outgrows its reader.

- A module has at most `MODULE_MAX` lines of code: lines that are not blank, comment or docstring.
- A class has at most `CLASS_MAX` lines of source, its docstrings and comments included.
- A function has at most `FUNCTION_MAX` lines of source, without the rows of tables: a literal with
  at least `ROWS_MIN` elements, or as many calls of one function in a row.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MODULE_MAX: Final = 450
CLASS_MAX: Final = 300
FUNCTION_MAX: Final = 60
ROWS_MIN: Final = 8
TOP: Final = {"tasks": (8, 7), "worker": (4, 4), "providers": (5, 8)}
"""Modules and subpackages at the top of each folder, at most."""
NO_CODE: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
     tokenize.ENCODING, tokenize.ENDMARKER}
)  # fmt: skip
MODULES: Final = sorted(path for folder in TOP for path in (ROOT / folder).rglob("*.py"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(node: ast.stmt | ast.expr) -> range:
    """Return the numbers of the lines of a part of a module."""
    assert node.end_lineno is not None
    return range(node.lineno, node.end_lineno + 1)


def is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, of whatever it describes."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def code_lines(source: str) -> int:
    """Return how many lines are not blank, comment or docstring."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if is_text(node):
            assert isinstance(node, ast.Expr)
            code.difference_update(lines_of(node))
    return len(code)


def _called(statement: ast.stmt) -> str:
    """Return what a statement calls if it is nothing but a call, else an empty text."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return ast.unparse(call.func) if isinstance(call, ast.Call) else ""


def rows(function: Function) -> set[int]:
    """Return the lines of a function's tables."""
    found: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            elements = node.keys if isinstance(node, ast.Dict) else node.elts
            if len(elements) >= ROWS_MIN:
                found.update(lines_of(node))
    for called, run in groupby(function.body, _called):
        calls = list(run)
        if called and len(calls) >= ROWS_MIN:
            found.update(*map(lines_of, calls))
    return found


def too_large(name: str, source: str) -> Iterator[str]:
    """Name what is over its limit, each with its size."""
    size = code_lines(source)
    if size > MODULE_MAX:
        yield f"{name}: {size} lines of code, {MODULE_MAX} at most"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            size, most = len(lines_of(node)), CLASS_MAX
        elif isinstance(node, Function):
            size, most = len(set(lines_of(node)) - rows(node)), FUNCTION_MAX
        else:
            continue
        if size > most:
            yield f"{name}: {node.name} has {size} lines, {most} at most"


def test_everything_can_be_read_at_once() -> None:
    """What has grown too large holds several things; split it where they meet."""
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in MODULES}
    found = [line for name, source in sources.items() for line in too_large(name, source)]
    assert found == [], "\n".join(["", *found])


@pytest.mark.parametrize("folder", TOP)
def test_the_top_of_a_folder_stays_a_short_menu(folder: str) -> None:
    """A newcomer reads the names of a folder first; a new module goes into a subpackage."""
    here = ROOT / folder
    modules = {path.stem for path in here.glob("*.py")} - {"__init__"}
    subpackages = {path.parent.name for path in here.glob("*/__init__.py")}
    most_modules, most_subpackages = TOP[folder]
    assert len(modules) <= most_modules, sorted(modules)
    assert len(subpackages) <= most_subpackages, sorted(subpackages)


# The measure itself --------------------------------------------------------------------


def test_blank_lines_comments_and_docstrings_are_no_code() -> None:
    """Prose is welcome; a limit on it would be paid with reasons."""
    source = '''
        """What it is for,

        in several lines."""

        # A reason.
        LIMIT = 3  # With another one.
        """What a constant means."""
        TEXT = """one
        two"""

        def double(number: int) -> int:
            """Return twice a number."""
            return (
                2 * number
            )
        '''
    assert code_lines(dedent(source)) == 7


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("x = 1\n" * FUNCTION_MAX, FUNCTION_MAX + 1),
        ("x = [\n" + "1,\n" * FUNCTION_MAX + "]\n", None),
        ("x = {\n" + "".join(f"{n}: 1,\n" for n in range(FUNCTION_MAX)) + "}\n", None),
        ("add(1)\n" * FUNCTION_MAX, None),
        ("add(1)\ncall(1)\n" * (FUNCTION_MAX // 2), FUNCTION_MAX + 1),
        ("x = [\n" + "\n" * FUNCTION_MAX + "1]\n", FUNCTION_MAX + 3),
        ("add(1)\n" * (ROWS_MIN - 1) + "x = 1\n" * FUNCTION_MAX, FUNCTION_MAX + ROWS_MIN),
    ],
    ids=["statements", "list", "dict", "calls", "mixed calls", "few elements", "few calls"],
)
def test_only_rows_of_tables_are_not_counted(body: str, lines: int | None) -> None:
    """A table may be as long as what it lists; steps may not."""
    source = "def f():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    told = [] if lines is None else [f"m: f has {lines} lines, {FUNCTION_MAX} at most"]
    assert list(too_large("m", source)) == told


def test_a_large_class_and_module_are_named_with_their_sizes() -> None:
    """The message says what to split, and by how much it is too large."""
    lines = "".join(f"    x{number} = 1\n" for number in range(MODULE_MAX))
    assert list(too_large("m", f"class C:\n{lines}")) == [
        f"m: {MODULE_MAX + 1} lines of code, {MODULE_MAX} at most",
        f"m: C has {MODULE_MAX + 1} lines, {CLASS_MAX} at most",
    ]
