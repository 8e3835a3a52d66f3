"""LINKEDIN with linkedin-messaging: the first step and everything after the code are its own."""

from linkedin_messaging import ChallengeException, LinkedInMessaging

from checkpoint_worker.providers import bridges

bridge = bridges.of("linkedin-messaging")


async def begin(worker, account_id, username, password, source=None):
    client = LinkedInMessaging()
    try:
        await client.login(username, password)
    except ChallengeException:
        checkpoint, context = bridge.context_from(client, source=source)
        worker.open_intent(
            account_id=account_id, provider="LINKEDIN", checkpoint=checkpoint, context=context
        )
    await client.close()


# The person types the code: `worker.submit` or POST /v1/submissions, until its outcome is 201.


async def go_on(worker, account_id):
    client = LinkedInMessaging()
    bridge.restore(worker.take_session(account_id=account_id, provider="LINKEDIN"), client)
    profile = await client.get_user_profile()
    await client.close()
    return profile.plain_id
