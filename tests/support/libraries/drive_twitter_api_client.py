"""twitter-api-client: the site's flow, with its token against forgery sent empty at first."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

from support import Person, report, tried
from twitter.login import login as log_in

person = Person()


def login(*, wrong):
    read = lambda: person.code(wrong=wrong)  # noqa: E731  its name for a mailbox's reader
    return tried(log_in, person.username, person.handle, person.password, proton=read)


wrong = login(wrong=True)
right = login(wrong=False)
cookies = {} if isinstance(right, str) else dict(right.cookies)
report(
    wrong=wrong,
    right=right if isinstance(right, str) else cookies.get("auth_token"),
    owner=cookies.get("twid", "").replace("%3D", "=").rpartition("=")[2].strip('"'),
    calls=[],
)
