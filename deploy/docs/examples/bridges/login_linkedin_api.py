"""LINKEDIN with linkedin-api: it stops before the challenge page, which its session then loads."""

from linkedin_api import Linkedin
from linkedin_api.client import ChallengeException

from checkpoint_worker.providers import bridges
from checkpoint_worker.providers.bridges.linkedin import challenge_of

bridge = bridges.of("linkedin-api")


def begin(worker, account_id, username, password, source=None):
    linkedin = Linkedin("", "", authenticate=False, refresh_cookies=True)
    try:
        linkedin.client.authenticate(username, password)
    except ChallengeException as error:
        page = linkedin.client.session.get(challenge_of(linkedin, error))
        checkpoint, context = bridge.context_from(linkedin, page, source=source)
        worker.open_intent(
            account_id=account_id, provider="LINKEDIN", checkpoint=checkpoint, context=context
        )


# The person types the code: `worker.submit` or POST /v1/submissions, until its outcome is 201.


def go_on(worker, account_id):
    linkedin = Linkedin("", "", authenticate=False)
    bridge.restore(worker.take_session(account_id=account_id, provider="LINKEDIN"), linkedin)
    return linkedin.get_user_profile()["plainId"]
