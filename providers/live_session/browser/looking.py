"""Observes a page: its frames of the login's site, its cookies, the field for the code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from checkpoint_worker.providers.live_session.browser.calls import (
    PageBusyError,
    PageLostError,
    read,
)
from checkpoint_worker.providers.live_session.browser.judging import View, read_cookies, site_of
from checkpoint_worker.providers.live_session.browser.script import FIND, LOOK, SINCE, Look, wanted

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Frame, JSHandle, Page

    from checkpoint_worker.providers.contract import Cookie
    from checkpoint_worker.providers.live_session.browser.recipes import Recipe

LOOK_S: Final = 0.1
"""Interval between two looks at the page."""
FRAMES_MAX: Final = 20
"""Maximum number of frames that are looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """The inputs that take the code, and the button of their form."""

    look: Look
    inputs: list[ElementHandle]
    button: ElementHandle | None


class PageObserver:
    """Reads a page and changes nothing of it.

    Args:
        page: The page.
        recipe: The patterns of the provider's pages.

    Attributes:
        site: The login's site: the site of the page when the session began.
        lost: Event that is set once the page, its context or its browser is gone.
    """

    def __init__(self, page: Page, recipe: Recipe) -> None:
        self.page, self.recipe = page, recipe
        self.site = site_of(page.url)
        self.lost = asyncio.Event()
        self._cookies: tuple[Cookie, ...] = ()
        self._since: dict[Frame, JSHandle] = {}

    async def view(self) -> View:
        """Return a view of the page; while the page is loading, the view has only its cookies.

        Raises:
            PageLostError: The page is closed or has crashed.
        """
        if self.lost.is_set():
            raise PageLostError
        recipe = wanted(self.recipe)
        looks: list[Look] = []
        with suppress(PageBusyError, ValidationError):
            looks = [await self._look(frame, recipe) for frame in self._frames()]
        if looks and not looks[0].ready:
            looks = []
        with suppress(PageBusyError):
            self._cookies = await self.cookies()
        return View(url=self.page.url, looks=tuple(looks), cookies=self._cookies)

    async def cookies(self) -> tuple[Cookie, ...]:
        """Return the site's cookies, also of a page that answers no script.

        Raises:
            PageBusyError: The browser did not answer in time.
            PageLostError: The page is closed or has crashed.
        """
        return read_cookies(await read(self.page.context.cookies()), self.site)

    def _frames(self) -> list[Frame]:
        """Return the page's own frame and its frames of the same site.

        No code is typed into a frame of another site, nor into a page that has left the site.
        """
        main = self.page.main_frame
        own = (each for each in self.page.frames if each is not main)
        return [main, *(each for each in own if site_of(each.url) == self.site)][:FRAMES_MAX]

    async def _look(self, frame: Frame, recipe: Mapping[str, object]) -> Look:
        since = self._since.pop(frame, None)
        found = await read(frame.evaluate(LOOK, {"recipe": recipe, "since": since}))
        if since is not None:  # It belongs to this document, or the call would have failed.
            self._since[frame] = since
        return Look.model_validate(found)

    async def pause(self) -> None:
        """Wait for the interval between two looks, `LOOK_S`.

        Raises:
            PageLostError: The page is closed or has crashed.
        """
        await asyncio.sleep(LOOK_S)
        if self.lost.is_set():
            raise PageLostError

    async def find(self) -> Found | None:
        """Return handles of the inputs for the code, ``None`` if the page has none."""
        recipe = wanted(self.recipe)
        for frame in self._frames():
            if site_of(frame.url) != self.site:
                continue
            try:
                held = await read(frame.evaluate_handle(FIND, {"recipe": recipe}))
                parts = await read(held.get_properties())
                look = Look.model_validate(await read(parts["look"].json_value()))
                listed = await read(parts["fields"].get_properties())
            except (PageBusyError, ValidationError):
                continue
            inputs = [each for each in map(_element, listed.values()) if each is not None]
            if inputs:
                return Found(look, inputs, _element(parts["button"]))
        return None

    async def mark(self) -> None:
        """Start to track which errors the page writes from now on."""
        self._since = {}
        for frame in self._frames():
            with suppress(PageBusyError):
                self._since[frame] = await read(frame.evaluate_handle(SINCE, wanted(self.recipe)))


def _element(handle: Any) -> ElementHandle | None:  # noqa: ANN401  JSHandle
    found: ElementHandle | None = handle.as_element()
    return found
