"""Reading of a provider's answer, for the adapters: pages, forms, cookies, links.

The functions are pure. They contain no text of a particular provider, open no connection and never
put text of an answer into an exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser

from checkpoint_worker.providers.contract import UnescapedCharactersError, UnreadableAnswerError
from checkpoint_worker.providers.http.cookies import is_expired

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from selectolax.lexbor import LexborNode

    from checkpoint_worker.providers.contract import Cookie

TAGS_MAX = 10_000
"""Maximum number of tags in a page; login pages have hundreds. The parser's time is quadratic in
the nesting: 100,000 nested blocks took 18 s."""

_PATH = re.compile(r"/(?!/)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_REVOKED = frozenset({"", "delete me", "deleted"})  # Values with which providers revoke a cookie.
_SILENT_TAGS = frozenset({"head", "noscript", "script", "style", "template"})
_HIDDEN_CLASSES = frozenset({"hidden", "hidden__imp", "visually-hidden"})
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


# Pages and forms -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One HTML form.

    Attributes:
        id: Its ``id``, or an empty string.
        action: Its ``action`` as written, or an empty string.
        hidden: Name to value of its hidden inputs, in document order.
        inputs: Names of all its inputs, hidden ones included.
    """

    id: str
    action: str
    hidden: Mapping[str, str] = field(repr=False)
    inputs: frozenset[str]


class Page:
    """An HTML page with the text that a person sees; hidden text does not count.

    Args:
        html: The page. The parser accepts any text, so the caller must check the contents.

    Raises:
        UnreadableAnswerError: It has more than `TAGS_MAX` tags.
    """

    def __init__(self, html: str) -> None:
        if html.count("<") > TAGS_MAX:
            msg = "The provider's page is too large to be read."
            raise UnreadableAnswerError(msg)
        self._tree = LexborHTMLParser(html)
        self._speaking: set[int] = set()
        self._text = " ".join(" ".join(self._visible_text()).split())

    @property
    def text(self) -> str:
        """The visible text, white space collapsed."""
        return self._text

    def has(self, selector: str) -> bool:
        """Whether an element matches, visible or hidden: markers are often hidden."""
        return self._tree.css_first(selector) is not None

    def said_in(self, selector: str, *, outside: str = "") -> str:
        """Return the visible text of the matching elements, white space collapsed.

        Every page contains error blocks; they count only when they are visible.

        Args:
            selector: CSS selector.
            outside: CSS selector of elements that do not count, nor what is in them.
        """
        barred = {node.mem_id for node in self._tree.css(outside)} if outside else set()
        texts = (
            text
            for node in self._tree.css(selector)
            if node.mem_id in self._speaking and not _is_within(node, barred)
            for text in (each.text_content or "" for each in _spoken(node))
        )
        return " ".join(" ".join(texts).split())

    def forms(self, *, with_input: str = "") -> tuple[Form, ...]:
        """The page's forms in order, all of them or those with an input of that name."""
        forms = (_form(node) for node in self._tree.css("form"))
        return tuple(form for form in forms if not with_input or with_input in form.inputs)

    def _visible_text(self) -> Iterator[str]:
        """Yield visible text and mark the elements that contain it.

        Marking stops at the first marked ancestor, so the walk is linear in the page.
        """
        for node in _spoken(self._tree.root):
            yield node.text_content or ""
            parent = node.parent
            while parent is not None and parent.mem_id not in self._speaking:
                self._speaking.add(parent.mem_id)
                parent = parent.parent


def _spoken(root: LexborNode | None) -> Iterator[LexborNode]:
    """Yield the visible nodes of text below a node, in order."""
    stack = [root] if root is not None else []
    while stack:
        node = stack.pop()
        if node.is_text_node:
            if (node.text_content or "").strip():
                yield node
        elif not _is_hidden(node):
            stack.extend(reversed(list(node.iter(include_text=True))))


def _is_within(node: LexborNode | None, barred: set[int]) -> bool:
    while barred and node is not None:
        if node.mem_id in barred:
            return True
        node = node.parent
    return False


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    classes = set((attributes.get("class") or "").split())
    return (
        node.tag in _SILENT_TAGS
        or "hidden" in attributes
        or bool(classes & _HIDDEN_CLASSES)
        or _HIDDEN_STYLE.search(attributes.get("style") or "") is not None
    )


def _form(node: LexborNode) -> Form:
    hidden: dict[str, str] = {}
    inputs: set[str] = set()
    for each in node.css("input[name]"):
        attributes = each.attributes
        name = attributes.get("name") or ""
        inputs.add(name)
        if (attributes.get("type") or "").lower() == "hidden":
            hidden[name] = attributes.get("value") or ""
    return Form(
        id=node.attributes.get("id") or "",
        action=node.attributes.get("action") or "",
        hidden=hidden,
        inputs=frozenset(inputs),
    )


# Cookies -------------------------------------------------------------------------------


def is_live(cookie: Cookie) -> bool:
    """Whether a cookie is not revoked.

    An empty value, an expiry in the past (0 included) and the values of `_REVOKED` revoke it.
    """
    return not is_expired(cookie) and cookie.value.strip('" ').lower() not in _REVOKED


def merge_cookies(held: Iterable[Cookie], fresh: Iterable[Cookie]) -> tuple[Cookie, ...]:
    """Return the cookies after an answer: fresh values replace held ones, revoked ones are removed.

    All cookies belong to one host, so the name alone identifies a cookie. With the domain as a
    part of the key, two values of one name could be sent together.
    """
    jar = {cookie.name: cookie for cookie in held}
    for cookie in fresh:
        if is_live(cookie):
            jar[cookie.name] = cookie
        else:
            jar.pop(cookie.name, None)
    return tuple(jar.values())


def cookie_value(cookies: Iterable[Cookie], name: str) -> str | None:
    """Return the last value of that name, quotes included; ``None`` if it is revoked or absent."""
    last = None
    for cookie in cookies:
        if cookie.name == name:
            last = cookie.value if is_live(cookie) else None
    return last


def has_session(cookies: Iterable[Cookie], *names: str) -> bool:
    """Whether these cookies make a login: the last value of each name is there and not deleted.

    A session in an answer outweighs its body, its redirect and its status: the code is used up, and
    an error would throw the login away. What the answer names itself still holds: whose login it
    is, and a further step.
    """
    held = tuple(cookies)
    return all(cookie_value(held, name) is not None for name in names)


# Addresses -----------------------------------------------------------------------------


def is_path(text: str) -> bool:
    """Whether a text is an absolute path (with its query) that needs no escaping in a URL."""
    return _PATH.fullmatch(text) is not None


def require_path(path: str) -> str:
    """Return the path if it can be used in a URL.

    Raises:
        UnescapedCharactersError: The path needs escaping, or would lead to another host.
    """
    if not is_path(path):
        msg = "A path of the challenge context has characters that cannot go into a URL."
        raise UnescapedCharactersError(msg)
    return path


def path_on_host(address: str, *, base_url: str, page: str = "/") -> str | None:
    """Resolve a link or a ``Location`` to a path on the provider's host.

    Args:
        address: The link as the provider wrote it: absolute or relative.
        base_url: URL of the provider.
        page: Path of the page that contains the link.

    Returns:
        Path and query as written, without a fragment (check it with `is_path` before sending);
        ``None`` if the link leads to another host or is invalid.
    """
    try:
        target, base = urlsplit(urljoin(base_url + page, address.strip())), urlsplit(base_url)
        same = (target.scheme, target.hostname, target.port) == (
            base.scheme,
            base.hostname,
            base.port,
        )
    except ValueError:
        return None
    if not same:
        return None
    return (target.path or "/") + (f"?{target.query}" if target.query else "")
