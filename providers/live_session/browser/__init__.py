"""The page side of a browser session: a page that has stopped at a checkpoint, and a code.

`LoginPage` finds the field for the code, types the code once, as a person does, and says what the
page answers. A `Recipe` tells how the pages of a provider look. It knows no Redis;
`tasks.live_session.BrowserSession` joins it with the live session's channel.

The pages are Playwright's, of its asyncio interface; the extra ``browser`` installs it. Nothing
here disguises the browser, solves a captcha or closes what is not its own.
"""

from __future__ import annotations

from checkpoint_worker.providers.live_session.browser.answers import is_end
from checkpoint_worker.providers.live_session.browser.calls import (
    BrowserExtraMissingError,
    PageLostError,
    RecordingError,
    playwright_error,
)
from checkpoint_worker.providers.live_session.browser.finished import Login
from checkpoint_worker.providers.live_session.browser.page import LoginPage, Patience
from checkpoint_worker.providers.live_session.browser.recipes import (
    GENERIC,
    RECIPES,
    Recipe,
    Sign,
    UserId,
    recipe_for,
)

__all__ = [
    "GENERIC",
    "RECIPES",
    "BrowserExtraMissingError",
    "Login",
    "LoginPage",
    "PageLostError",
    "Patience",
    "Recipe",
    "RecordingError",
    "Sign",
    "UserId",
    "is_end",
    "playwright_error",
    "recipe_for",
]
