"""instaloader: the site's login with a second factor."""

import instaloader
from support import Person, report, stopped, tried

person = Person()
loader = instaloader.Instaloader(quiet=True, max_connection_attempts=1)
first = tried(loader.login, person.handle, person.password)
stopped(loader)
wrong = tried(loader.two_factor_login, person.code(wrong=True))
right = tried(loader.two_factor_login, person.code())
report(
    first=first,
    wrong=wrong,
    right=right,
    owner=loader.context._session.cookies.get_dict().get("ds_user_id"),
    calls=[
        tried(loader.test_login),
        tried(lambda: instaloader.Profile.own_profile(loader.context).userid),
    ],
)
