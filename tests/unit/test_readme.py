"""The pages say what the code does: tables, sizes, links, paths, commands and examples."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from checkpoint_worker.tasks.settings import Settings
from checkpoint_worker.worker.cli.main import COMMANDS

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "deploy" / "docs" / "examples"
README: Final = ROOT / "README.md"
README_BYTES_MAX: Final = 8 * 1024
PAGE_BYTES_MAX: Final = 25 * 1024
FOLDERS: Final = ("providers", "tasks", "worker", "tests", "deploy")
"""Where pages are, besides the root."""
PAGES: Final = sorted(
    [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
)
TOOLS: Final = {(ROOT / "tests/benchmarks/notes.md", "sh")}
"""Blocks that no example holds: tools of others, on a machine of a reader's own."""
TESTED_IN_PLACE: Final = {(ROOT / "deploy/docs/live-session.md", "js")}
"""`tests/integration/test_live_session.py` runs the page's own code over its own test vector."""
NOT_HERE: Final = re.compile(r"\b(CONTRACT|DESIGN|FACTS|HOUSE|STYLE)\b|providers\.md")
"""Names of documents that are no part of the tree."""
NOT_HERE_IN_CODE: Final = re.compile(
    r"\b(?:CONTRACT|DESIGN|FACTS|HOUSE|STYLE) ?(?:\u00a7|\d|:)|\bproviders\.md|(?<!\d )\u00a7"
)
"""The same in source files, where the word alone may be a constant; RFCs may be named."""
LABELS: Final = {"checkpoint live session 2"}
"""Texts that look like a command and are none."""
OURS: Final = ("py", "md", "lua", "sh", "toml", "mjs", "yaml", "yml", "acl", "lock")
"""Ends of file names that a page may name; others (sockets, pid files) are of a machine."""
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN: Final = re.compile(r"`([^`\n]+)`")
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")

per_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT)) if isinstance(page, Path) else None
)


def _shown(default: object) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        default = str(default).lower()
    if isinstance(default, tuple):
        default = ",".join(default)
    return "\N{EN DASH}" if default in (None, "") else f"`{default}`"


def test_the_settings_table_is_the_settings() -> None:
    """Operators read the table, not the model: name, default and sentence must be the same."""
    expected = [
        (f"CHECKPOINT_{name.upper()}", _shown(field.default), field.description)
        for name, field in Settings.model_fields.items()
    ]
    page = (ROOT / "worker" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(CHECKPOINT_\w+)` \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert rows == expected


# Sizes and references ----------------------------------------------------------------------


@per_page
def test_a_page_is_short_enough_to_be_read(page: Path) -> None:
    """The first page in minutes, any other in a sitting."""
    most = README_BYTES_MAX if page == README else PAGE_BYTES_MAX
    assert len(page.read_bytes()) <= most


@per_page
def test_a_page_names_no_document_that_is_not_here(page: Path) -> None:
    """A reader cannot open it."""
    assert NOT_HERE.search(page.read_text("utf-8")) is None


def test_no_source_file_names_a_document_that_is_not_here() -> None:
    """A reader cannot open it, whether a docstring or a comment names it."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for folder in FOLDERS
        for ending in ("py", "lua", "sh", "toml", "yaml", "yml", "mjs")
        for path in sorted((ROOT / folder).rglob(f"*.{ending}"))
        if (match := NOT_HERE_IN_CODE.search(path.read_text("utf-8")))
    ]
    assert found == []


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """Return what a link may have after its ``#``, made as code hosts make it from headings."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return frozenset(each.replace(" ", "-") for each in kept)


def broken(page: Path, target: str) -> bool:
    """Return whether a link leads nowhere in the tree."""
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return True
    return bool(anchor) and (there.suffix != ".md" or anchor not in anchors(there))


@per_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """File and heading."""
    links = LINK.findall(FENCE.sub("", page.read_text("utf-8")))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if broken(page, link)] == []


def spans(page: Path) -> list[str]:
    """Return what stands between backticks, outside of blocks."""
    return SPAN.findall(FENCE.sub("", page.read_text("utf-8")))


@functools.cache
def names() -> frozenset[str]:
    """Return the name of every file in the tree."""
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return frozenset(path.name for path in [*ROOT.iterdir(), *below] if path.is_file())


def is_path(span: str) -> bool:
    """Return whether a span names a file or folder of the tree, as far as its form tells."""
    if not re.fullmatch(r"[\w.-][\w./-]*", span) or span.startswith("."):
        return False
    first, slash, rest = span.partition("/")
    if slash and first in FOLDERS:
        return True
    # Longer ones with a slash at the end are a provider's paths.
    return bool(slash and not rest) or span.endswith(tuple(f".{end}" for end in OURS))


def exists(page: Path, path: str) -> bool:
    """Return whether a path is there: from the root, the page's folder, or `tests/`."""
    if "/" not in path.rstrip("/") and page.parent.parent == ROOT / "providers":
        return True  # A provider's page cites files and folders of public clients.
    if "/" not in path:
        return path in names()
    places = (ROOT, *page.relative_to(ROOT.parent).parents[:-1], ROOT / "tests")
    return any((ROOT.parent / place / path).exists() for place in places)


@per_page
def test_every_path_in_a_page_exists(page: Path) -> None:
    """The changelog tells history; every other page tells what is there now."""
    if page.name == "CHANGELOG.md":
        return
    named = {span.partition("::")[0] for span in spans(page)}
    assert [path for path in sorted(named) if is_path(path) and not exists(page, path)] == []


# Commands and examples ---------------------------------------------------------------------


@per_page
def test_every_command_in_a_page_exists(page: Path) -> None:
    """``make``, ``checkpoint`` and ``python -m``, between backticks and in blocks."""
    text = page.read_text("utf-8")
    blocks = (body for _, body in FENCE.findall(text))
    typed = "\n".join([*(span for span in spans(page) if span not in LABELS), *blocks])
    targets = set(re.findall(r"^\.PHONY: (\w+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {name for section in COMMANDS.values() for name in section}
    asked = set(re.findall(r"^(?:\$ )?make ([a-z]\w*)", typed, re.MULTILINE))
    ran = set(re.findall(r"^(?:\$ |until )?checkpoint ([a-z]\w*)", typed, re.MULTILINE))
    modules = set(re.findall(r"python -m (tests[\w.]*)", typed))
    assert (asked - targets, ran - commands) == (set(), set())
    files = {module: ROOT / module.rstrip(".").replace(".", "/") for module in modules}
    there = {name for name, at in files.items() if at.is_dir() or at.with_suffix(".py").exists()}
    assert modules - there == set()


@functools.cache
def examples() -> dict[str, str]:
    """Return every example by its path below ``deploy/docs/examples``."""
    files = (path for path in sorted(EXAMPLES.rglob("*")) if path.is_file())
    kept = (path for path in files if "__pycache__" not in path.parts)
    return {str(path.relative_to(EXAMPLES)): path.read_text("utf-8") for path in kept}


@per_page
def test_every_block_of_code_is_of_an_example(page: Path) -> None:
    """What people copy from a page is a part of a file that a test runs."""
    blocks = [
        body
        for language, body in FENCE.findall(page.read_text("utf-8"))
        if language in {"python", "js", "sh", "toml"}
        and (page, language) not in TOOLS | TESTED_IN_PLACE
    ]
    assert [body for body in blocks if not any(body in text for text in examples().values())] == []


@pytest.mark.parametrize("example", examples())
def test_every_example_is_run_by_a_test(example: str) -> None:
    """By its name."""
    places = (ROOT / "tests" / layer for layer in ("integration", "system"))
    tests = (path.read_text("utf-8") for place in places for path in place.glob("*.py"))
    assert any(f'{example}"' in text for text in tests)
