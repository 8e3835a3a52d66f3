"""TWITTER with tweety-ns: the first step and everything after the code are the library's."""

from tweety import TwitterAsync
from tweety.exceptions import ActionRequired
from tweety.session import MemorySession

from checkpoint_worker.providers import bridges

bridge = bridges.of("tweety-ns")


async def begin(worker, account_id, username, password, source=None):
    client = TwitterAsync(MemorySession())
    try:
        await client.sign_in(username, password)
    except ActionRequired:
        checkpoint, context = bridge.context_from(client, source=source)
        worker.open_intent(
            account_id=account_id, provider="TWITTER", checkpoint=checkpoint, context=context
        )


# The person types the code: `worker.submit` or POST /v1/submissions, until its outcome is 201.


async def go_on(worker, account_id):
    client = TwitterAsync(MemorySession())
    bridge.restore(worker.take_session(account_id=account_id, provider="TWITTER"), client)
    return (await client.connect()).id
