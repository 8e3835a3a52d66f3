"""linkedin-api: the app's login; it stops at the checkpoint, which it cannot answer."""

import tempfile

from linkedin_api import Linkedin
from linkedin_api.client import Client
from support import Person, report, tried

person = Person()
folder = tempfile.mkdtemp() + "/"


def login() -> Client:
    """Log in; the cookies are kept in the folder."""
    client = Client(cookies_dir=folder)
    client.authenticate(person.username, person.password)
    return client


first = tried(login)
owner, calls = None, []
if isinstance(first, Client):
    linkedin = Linkedin(person.username, person.password, cookies_dir=folder)
    owner = tried(lambda: linkedin.get_user_profile()["plainId"])
    calls = [
        tried(lambda: linkedin.get_profile(person.handle)["member_urn"]),
        tried(lambda: len(linkedin.get_conversations()["elements"])),
    ]
report(first=type(first).__name__ if isinstance(first, Client) else first, owner=owner, calls=calls)
