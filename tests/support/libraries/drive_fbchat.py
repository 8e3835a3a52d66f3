"""fbchat: Facebook's site, by its form for a code."""

from fbchat._state import State
from support import Person, report, tried

person = Person()
wrong = tried(State.login, person.username, person.password, lambda: person.code(wrong=True))
right = tried(State.login, person.username, person.password, person.code)
calls = [right.is_logged_in(), right.logout()] if isinstance(right, State) else []
report(
    wrong=wrong,
    right=right if isinstance(right, str) else type(right).__name__,
    owner=getattr(right, "user_id", None),
    calls=calls,
)
