"""A backend that drives a browser with Playwright: its page has stopped where the code is asked."""

import os

from checkpoint_worker.tasks.client import AsyncCheckpointClient
from checkpoint_worker.tasks.live_session.browser import BrowserSession, Ended

client = AsyncCheckpointClient()  # reads CHECKPOINT_* from the environment
REDIS_URL = os.environ["CHECKPOINT_REDIS_URL"]
PREFIX = os.environ.get("CHECKPOINT_PREFIX", "checkpoint")


async def login_stopped(page, provider, account_id):
    async with BrowserSession(REDIS_URL, page, provider, account_id, prefix=PREFIX) as session:
        await client.open_intent(
            account_id=account_id,
            provider=provider,
            checkpoint=session.checkpoint,  # what the page asks for
            context=session.context,
        )
        end = await session.ended(timeout_s=300)  # codes are submitted meanwhile, as ever
    return end.session if end.why is Ended.CLEARED else None  # the page is yours again
