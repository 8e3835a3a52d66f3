"""facebook-scraper: Facebook's site, told apart by the words of its pages."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import builtins

from facebook_scraper.facebook_scraper import FacebookScraper
from support import Person, report, tried

person = Person()


def login(*, wrong):
    builtins.input = lambda *_: person.code(wrong=wrong)
    client = FacebookScraper()
    done = tried(client.login, person.username, person.password)
    return client, done or "in"


_, wrong = login(wrong=True)
client, right = login(wrong=False)
report(
    wrong=wrong,
    right=right,
    owner=client.session.cookies.get("c_user"),
    calls=[tried(client.is_logged_in)],
)
