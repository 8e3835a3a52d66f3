"""ensta: the site's login with a second factor at its newer path."""

# ruff: noqa: ANN001, ANN201, D103  a script for the library's own Python

import builtins
import json

from ensta.Authentication import new_session_id
from ensta.WebSession import WebSession
from support import Person, report, tried

person = Person()
read = []


def login(*, wrong):
    builtins.input = lambda *_: read.append(person.code(wrong=wrong)) or read[-1]
    return tried(new_session_id, person.handle, person.password, proxy=None)


wrong = login(wrong=True)
right = login(wrong=False)
while read[-1].startswith("0"):  # It makes a number of the code, so that the zero is lost.
    right = login(wrong=False)
session = json.loads(right) if right.startswith("{") else {}
report(
    wrong=wrong,
    right=session.get("session_id", right),
    owner=session.get("user_id"),
    calls=[tried(lambda: WebSession(right).private_info().username)],
)
