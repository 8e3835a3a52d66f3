"""The live session route over Redis: both ends of its channel.

`RedisSessionChannel` is the worker's end; the replies to all its requests come over one
subscription, `LiveReplies`. `SessionHost` is the session's end: a program that holds a login (in a
browser that it drives, or in a native client) runs it to receive codes. Its handler gets a
`Question` and returns an answer in the form that `providers.live_session` defines. The program
makes a secret with `new_session_secret` and puts it into the challenge context of the intent.
`tasks.live_session.browser.BrowserSession` does all of that for a page that Playwright drives.
"""

from __future__ import annotations

from checkpoint_worker.providers.live_session import new_session_secret
from checkpoint_worker.tasks.live_session.host import (
    Handler,
    Question,
    SessionHost,
    SessionReplacedError,
)
from checkpoint_worker.tasks.live_session.replies import LiveReplies, RedisSessionChannel

__all__ = [
    "Handler",
    "LiveReplies",
    "Question",
    "RedisSessionChannel",
    "SessionHost",
    "SessionReplacedError",
    "new_session_secret",
]
