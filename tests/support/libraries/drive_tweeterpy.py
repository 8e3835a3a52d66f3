"""TweeterPy: the site's flow, after the newer form of its start page.

No wrong code is tried: this library would send it again and again.
"""

import builtins

import pyotp
from support import Person, report, tried
from tweeterpy import TweeterPy

person = Person()


builtins.input = lambda *_: person.code()
pyotp.TOTP.at = lambda *_: person.code()
secret = "JBSWY3DPEHPK3PXP" * 2 if person.source == "APP" else None  # Not used.
client = TweeterPy()
done = tried(client.login, person.handle, person.password, email=person.username, mfa_secret=secret)
twid = client.request_client.session.cookies.get("twid") or ""
report(
    right=done or "in",
    owner=twid.replace("%3D", "=").rpartition("=")[2].strip('"'),
    calls=[tried(client.logged_in)],
)
