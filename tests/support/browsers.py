"""Logins in a real Chromium, held by browser sessions on a deployment's loop."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

from checkpoint_worker.providers.live_session.browser import Patience
from checkpoint_worker.tasks.live_session.browser import BrowserEnd, BrowserSession
from checkpoint_worker.tasks.records import Outcome
from tests.support.chromium import CHROMIUM, OPTIONS
from tests.support.deployment import Deployment, Person, until

TIMES: Final[dict[str, Any]] = {"provider_timeout_s": 50.0, "drain_s": 1.0, "deadline_s": 60.0}
"""A browser on a busy machine is slower than a test's own calls."""
PATIENCE: Final = Patience(whole_s=45.0, key_s=0.02, away_s=20.0, unknown_s=20.0)
"""Time limits for a busy machine, on which a page may take long to load."""
HASTY: Final = replace(PATIENCE, away_s=1.0, unknown_s=2.0)
"""Time limits for scenes that end on an unknown page or on another site."""

HELD: Final = """() => [...document.querySelectorAll("input")]
  .filter((each) => each.matches("[autocomplete=one-time-code], [data-code], [data-joined]"))
  .map((each) => each.value).join("")"""
"""Script that returns the content of the inputs for a code."""


class Chromium:
    """A browser on a deployment's loop."""

    def __init__(self, deployment: Deployment, **options: Any) -> None:
        self.deployment, self._options = deployment, options
        self.browser: Browser
        self._playwright: Playwright

    def __enter__(self) -> Self:
        self._playwright = self.deployment.loops.run(async_playwright().start())
        launching = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*OPTIONS], **self._options
        )
        self.browser = self.deployment.loops.run(launching)
        return self

    def __exit__(self, *_: object) -> None:
        if self.browser.is_connected():
            self.deployment.loops.run(self.browser.close())
        self.deployment.loops.run(self._playwright.stop())


class BrowserLogin:
    """A person's login that has stopped at a checkpoint in a browser, with its session.

    Args:
        chromium: The browser.
        provider: Provider of the login.
        look: Looks of the page.
        scene: Scene of the login.
        patience: Of the session; what suits the scene, if none is given.
        opens: Whether the intent is opened.
        context: Options of the browser's context.
        account: Options of the account.
    """

    def __init__(
        self,
        chromium: Chromium,
        provider: str = "LINKEDIN",
        *,
        look: str = "plain",
        scene: str = "normal",
        patience: Patience | None = None,
        opens: bool = True,
        context: dict[str, Any] | None = None,
        **account: Any,
    ) -> None:
        self.chromium, self.deployment = chromium, chromium.deployment
        self.loops, self.provider = self.deployment.loops, provider
        self.opens, self._options = opens, context or {}
        self._patience = patience or (PATIENCE if scene == "normal" else HASTY)
        deployment = self.deployment
        found = self.loops.do(
            deployment.sandbox.add_account, provider, **{"source": "SMS", **account}
        )
        self.person = Person(deployment, found)
        deployment.persons.append(self.person)
        query = urlencode({"account": self.person.id, "look": look, "scene": scene})
        self.address = f"{deployment.sandbox.page_url}/web/{provider.lower()}/login?{query}"
        self.context: BrowserContext
        self.page: Page
        self.session: BrowserSession

    def __enter__(self) -> Self:
        self.context = self.loops.run(self.chromium.browser.new_context(**self._options))
        self.page = self.loops.run(self.context.new_page())
        self.loops.run(self.page.goto(self.address))
        self.session = self.loops.do(
            BrowserSession,
            self.deployment.url,
            self.page,
            self.provider,
            self.person.id,
            prefix=self.deployment.prefix,
            patience=self._patience,
        )
        self.loops.run(self.session.__aenter__())
        if self.opens:
            self.deployment.client.open_intent(
                account_id=self.person.id,
                provider=self.provider,
                checkpoint=self.session.checkpoint,
                context=self.session.context,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.loops.run(self.session.__aexit__())
        if self.chromium.browser.is_connected():
            self.loops.run(self.context.close())

    def submit(self, code: str) -> str:
        """Submit a code; return the submission's id."""
        return self.person.submit(code)

    def outcome(self, code: str) -> Outcome:
        """Submit a code and wait for its outcome."""
        return self.deployment.outcome(self.submit(code))

    def ended(self, timeout_s: float = 20.0) -> BrowserEnd:
        """Wait for the session's end."""
        return self.loops.run(self.session.ended(timeout_s))

    def held(self) -> str:
        """Return what the inputs for a code hold, in every frame."""

        async def look() -> str:
            return "".join([await frame.evaluate(HELD) for frame in self.page.frames])

        return self.loops.run(look())

    def wait_typing(self) -> None:
        """Wait until a part of a code is in the field."""
        until(self.held, "a key in the field")

    def sends(self) -> int:
        """Return how many codes the provider has received."""
        return len(self.person.account.sends)


@contextmanager
def chromium_of(deployment: Deployment) -> Iterator[Chromium]:
    """Serve a browser for a module."""
    with Chromium(deployment) as made:
        yield made


def files_with(folder: Path, code: str) -> list[str]:
    """Name the files below a folder that hold a code as it was typed, also in UTF-16."""
    forms = (code.encode(), code.encode("utf-16-le"))
    found = []
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        except OSError:
            continue  # A socket, or gone by now.
        # A longer row of digits that happens to hold it is another number.
        if any(re.search(rb"(?<![0-9])" + re.escape(form) + rb"(?![0-9])", data) for form in forms):
            found.append(str(path))
    return found


def elapsed(since: float) -> float:
    """Return the seconds since an instant of ``time.monotonic()``."""
    return time.monotonic() - since
