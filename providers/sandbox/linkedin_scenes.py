"""LINKEDIN: answers by name, from public clients and reports, told in our own markup.

Words in braces: ``{form}`` is the challenge's form as the next page has it, ``{rotated}`` the same
under another name of the challenge, ``{next}`` that of a further challenge; with ``inputs`` only
their hidden inputs. ``{form id}`` and ``{token}`` are the challenge's names in forms and addresses,
``{li_at}`` is a new session, ``{member}`` the account's number at the provider.
"""

from __future__ import annotations

from typing import Final

from checkpoint_worker.providers.sandbox.scenes import JSON, Scene

_LI_AT: Final = "li_at={li_at}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=None"
_FEED: Final = "/feed/"
_WRONG: Final = (
    "The verification code you entered isn't valid. Please check the code and try again."
)
_AWAY: Final = Scene(status=503)


def _page(body: str, status: int = 200) -> Scene:
    return Scene(status=status, body=f"<main>{body}</main>")


def _redirect(location: str, *then: Scene, cookies: tuple[str, ...] = ()) -> Scene:
    return Scene(status=303, location=location, cookies=cookies, then=then)


def _passed(*then: Scene, location: str = _FEED, cookies: tuple[str, ...] = (_LI_AT,)) -> Scene:
    return _redirect(location, *then, cookies=cookies)


def _refused(body: str, status: int = 200) -> Scene:
    return Scene(to="wrong", status=status, body=f"<main>{body}</main>")


_EMPTIED: Final = tuple(f"old_{n}=; Path=/; Max-Age=0" for n in range(150))
_MANY: Final = tuple(f"pref_{n}={n}; Path=/" for n in range(250))

SCENES: Final[dict[str, Scene]] = {
    # A finished login, in all its forms.
    "cookies emptied": _passed(cookies=(*_EMPTIED, _LI_AT)),
    "cookies in plenty": _passed(cookies=(*_MANY, _LI_AT)),
    "session beside an error": Scene(status=500, cookies=(_LI_AT,), body="<h1>Oops</h1>"),
    "session beside a refusal": Scene(cookies=(_LI_AT,), body="{form}"),
    "session and a far address": _passed(location="https://www.linkedin.com/feed/?trk=x"),
    "session and another host": _passed(location="https://fr.linkedin.com/"),
    "old domain cleared": _passed(
        cookies=(_LI_AT, "li_at=delete me; Domain=.example.test; Path=/; Max-Age=0")
    ),
    "session without a token": _passed(
        cookies=(_LI_AT, 'JSESSIONID="delete me"; Path=/; Max-Age=0')
    ),
    "session and a page of ours": Scene(cookies=(_LI_AT,), body="<h1>Welcome</h1>"),
    # The owner of the account.
    "owner away at first": _passed(_AWAY, Scene(status=429), Scene(body="<h1>Wait</h1>")),
    "owner refused at first": _passed(Scene(status=401), Scene(status=403)),
    "owner in two parts": _passed(
        Scene(
            content_type=JSON,
            body=(
                '{"data": {"plainId": {member}, "*miniProfile": "urn:li:fs_miniProfile:x"},'
                ' "included": [{"entityUrn": "urn:li:fs_miniProfile:x",'
                ' "objectUrn": "urn:li:member:{member}", "publicIdentifier": "some-person"}]}'
            ),
        )
    ),
    "owner without a name": _passed(
        Scene(content_type=JSON, body='{"plainId": {member}, "miniProfile": {}}')
    ),
    "owner revokes": _passed(
        _redirect("/uas/login", cookies=('li_at="delete me"; Path=/; Max-Age=0',))
    ),
    "owner never told": _passed(*[Scene(status=403)] * 3),
    # A further step; the session is not valid before it.
    "session before a step": _passed(
        Scene(status=401), _page("{next}"), location="/checkpoint/challenge/{token}"
    ),
    "renamed form": _page(
        '<h1>Enter the code from your authenticator app</h1><form action="/checkpoint/challenge/'
        'verify">{next inputs}<input id="input__phone_verification_pin" name="pin"></form>'
    ),
    "form told by its page": _page(
        '<h1>Gib den Code ein</h1><form action="/checkpoint/challenge/verify">{next inputs}'
        '<input name="pin"></form>'
    ),
    "notice above the next form": _page(
        '<div role="alert">We sent a code to your phone by text message.</div>{next}'
    ),
    "emptied error": _page(
        '<div id="email-pin-error" role="alert"></div><input type="hidden" name="captchaSiteKey"'
        ' value=""><a id="idverifyUrl" href=""></a>{next}'
    ),
    "empty error key": _redirect("/checkpoint/challenge/{token}?errorKey=", _page("{next}")),
    # Screens that public clients know and that accept no code.
    "phone number": _page('<form id="register-phone-challenge"><input name="phoneNumber"></form>'),
    "terms": _page('<h1>Review</h1><button id="content__button--primary--muted">Agree</button>'),
    "passkey": _page('<form id="passkey-challenge"><button>Use your passkey</button></form>'),
    "app approval": _page(
        '<h1 class="header__content__heading__inapp">Öffnen Sie die App</h1>'
        '<a id="try-another-way">SMS</a>'
    ),
    "captcha frame": _page('<iframe src="https://client-api.arkoselabs.com/x"></iframe>'),
    "new password form": _page('<form><input type="password" name="new_password"></form>'),
    "identity link": _page('<a id="idverifyUrl" href="/x">?</a>'),
    "captcha in French": _page("<h1>Procédons à une petite vérification de sécurité</h1>"),
    "captcha in Russian": _page("<h1>Проверка безопасности</h1>"),
    "password in Spanish": _page("<h1>Elige una contraseña más segura</h1>"),
    "identity in Turkish": _page("<h1>Kimliğinizi doğrulayın</h1>"),
    "restricted in German": _page("<h1>Ihr Konto wurde vorübergehend eingeschränkt</h1>"),
    "restricted in Portuguese": _page("<h1>Sua conta foi temporariamente restrita</h1>"),
    # Unknown screens.
    "unknown form": _page('<h1>Noch etwas</h1><form><input name="answer"></form>'),
    "unknown address": _redirect("/checkpoint/new/thing", _page("<h1>New</h1>")),
    "unknown host": _redirect("https://login.example.test/next"),
    "unknown JSON": Scene(content_type=JSON, body='{"status": "OK", "next": 7}'),
    "feed without a session": _redirect(_FEED),
    # Addresses.
    "captcha of old": _redirect("https://de.linkedin.com/uas/consumer-captcha-v2?challengeId=x"),
    "email challenge of old": _redirect("/uas/consumer-email-challenge"),
    "password address": _redirect("https://www.linkedin.com/checkpoint/rp/password-reset"),
    "terms address": _redirect("/legal/user-agreement-update"),
    "login in French": _redirect("/login/fr?fromSignIn=true"),
    "login of another front end": _redirect(
        "/flagship-web/login/?errorKey=challenge_global_internal_error"
    ),
    "login wall": _redirect("https://www.linkedin.com/signup/cold-join?session_redirect=x"),
    "saved accounts": _page('<div id="rememberme-div"><button>Continue</button></div>'),
    # Faults that the operator must repair.
    "old browser": _redirect("/error_pages/unsupported-browser.html"),
    "browser in German": _page("<h1>Ihr Browser wird nicht mehr unterstützt</h1>"),
    "cookies off": _page("<p>Please enable cookies to continue.</p>"),
    "too many": _page("<p>You have made too many attempts. Please try again later.</p>"),
    "access denied": _page("<h1>Access denied</h1>"),
    # Statuses with two meanings.
    "forbidden": Scene(status=403),
    "forbidden token": Scene(status=403, body="CSRF check failed."),
    "unauthorised": Scene(status=401),
    "bad request": Scene(status=400, body="<h1>Bad request</h1>"),
    "for legal reasons": Scene(status=451),
    # A refused code.
    "refused in a toast": _refused(f'<div class="artdeco-toast-item">{_WRONG}</div>{{form}}'),
    "refused in a dialog": _refused(
        '<div role="alertdialog">Der Code stimmt nicht.</div>{rotated}'
    ),
    "refused by the input": _refused(
        '<form id="{form id}" action="/checkpoint/challenge/verify">{rotated inputs}'
        '<input name="pin" aria-invalid="true"></form>'
    ),
    "refused without a form": _refused(f"<p>{_WRONG}</p>"),
    "refused in Spanish": _refused("<p>El código que has introducido no es válido.</p>"),
    "refused in Japanese": _refused("<p>入力したコードは正しくありません。</p>"),
    "refused in JSON": Scene(
        to="wrong", status=400, content_type=JSON, body=f'{{"message": "{_WRONG}"}}'
    ),
    "refused with 400": _refused(
        '<div class="form__error">Der Bestätigungscode ist ungültig.</div>{form}', status=400
    ),
    "refused beside another way": _refused(
        '<div id="email-pin-error">No.</div>{form}<a id="idverifyUrl" href="/x">Verify your '
        'identity</a><input type="hidden" name="captchaSiteKey" value="">'
    ),
    "refused behind a redirect": Scene(
        to="wrong",
        status=303,
        location="/checkpoint/challenge/{token}?errorKey=challenge_invalid_pin",
        then=(_page('<div id="email-pin-error">No.</div>{form}'),),
    ),
    "captcha in the form": _refused(
        '<form id="{form id}" action="/checkpoint/challenge/verify">{form inputs}<input '
        'type="hidden" name="captchaSiteKey" value="k"><input name="pin"></form>'
    ),
}
