"""linkedin-api: it cannot begin a login that is verified; it goes on with a session."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

from linkedin_api import Linkedin

from checkpoint_worker.providers import bridges

bridge = bridges.of("linkedin-api")


def go_on(worker, account_id):
    linkedin = Linkedin("", "", authenticate=False)
    bridge.restore(worker.take_session(account_id=account_id, provider="LINKEDIN"), linkedin)
    return linkedin.get_user_profile()["plainId"]
