# ruff: noqa: RUF001  the words of other scripts look like ours; that is their nature
"""TWITTER: what a text says, in each language of its site; structure comes before it."""

from __future__ import annotations

import time

import pytest

from checkpoint_worker.providers.twitter.words import WORDS, asks_for_address, refuses, source_in

SAYINGS = {
    # Language: a refusal, a hint that asks for an address, one that asks for a code.
    "en": ("Incorrect. Please try again.", "Phone or email", "Confirmation code"),
    "ar": ("غير صحيح. يُرجى المحاولة مرة أخرى.", "رقم الهاتف أو البريد الإلكتروني", "رمز التأكيد"),
    "bg": ("Неправилно. Опитайте отново.", "Телефон или имейл", "Код за потвърждение"),
    "bn": ("ভুল। আবার চেষ্টা করুন।", "ফোন বা ইমেইল", "নিশ্চিতকরণ কোড"),
    "ca": ("Incorrecte. Torna-ho a provar.", "Telèfon o correu electrònic", "Codi de confirmació"),
    "cs": ("Nesprávné. Zkuste to znovu.", "Telefon nebo e-mail", "Potvrzovací kód"),
    "da": ("Forkert. Prøv igen.", "Telefon eller e-mail", "Bekræftelseskode"),
    "de": ("Falsch. Bitte versuche es erneut.", "Telefonnummer oder E-Mail-Adresse",
           "Bestätigungscode"),
    "el": ("Λάθος. Δοκίμασε ξανά.", "Τηλέφωνο ή email", "Κωδικός επιβεβαίωσης"),
    "es": ("Incorrecto. Inténtalo de nuevo.", "Teléfono o correo electrónico",
           "Código de confirmación"),
    "fa": ("نادرست. دوباره امتحان کنید.", "تلفن یا ایمیل", "کد تأیید"),
    "fi": ("Virheellinen. Yritä uudelleen.", "Puhelin tai sähköposti", "Vahvistuskoodi"),
    "fil": ("Mali. Subukan ulit.", "Telepono o email", "Confirmation code"),
    "fr": ("Incorrect. Veuillez réessayer.", "Téléphone ou adresse email", "Code de confirmation"),
    "gu": ("ખોટું. ફરી પ્રયાસ કરો.", "ફોન અથવા ઇમેઇલ", "પુષ્ટિકરણ કોડ"),
    "he": ("שגוי. נסה שוב.", "טלפון או אימייל", "קוד אישור"),
    "hi": ("ग़लत. कृपया पुनः प्रयास करें.", "फ़ोन या ईमेल", "पुष्टि कोड"),
    "hr": ("Netočno. Pokušajte ponovno.", "Telefon ili e-pošta", "Kod za potvrdu"),
    "hu": ("Helytelen. Próbáld újra.", "Telefonszám vagy e-mail-cím", "Megerősítő kód"),
    "id": ("Salah. Silakan coba lagi.", "Telepon atau email", "Kode konfirmasi"),
    "it": ("Errato. Riprova.", "Telefono o indirizzo email", "Codice di conferma"),
    "ja": ("正しくありません。もう一度お試しください。", "電話番号またはメールアドレス",
           "確認コード"),
    "kn": ("ತಪ್ಪಾಗಿದೆ. ಮತ್ತೆ ಪ್ರಯತ್ನಿಸಿ.", "ಫೋನ್ ಅಥವಾ ಇಮೇಲ್", "ದೃಢೀಕರಣ ಕೋಡ್"),
    "ko": ("올바르지 않습니다. 다시 시도해 주세요.", "전화번호 또는 이메일", "확인 코드"),
    "mr": ("चुकीचे. पुन्हा प्रयत्न करा.", "फोन किंवा ईमेल", "पुष्टीकरण कोड"),
    "ms": ("Salah. Sila cuba lagi.", "Telefon atau e-mel", "Kod pengesahan"),
    "nl": ("Onjuist. Probeer het opnieuw.", "Telefoonnummer of e-mailadres", "Bevestigingscode"),
    "no": ("Feil. Prøv på nytt.", "Telefon eller e-post", "Bekreftelseskode"),
    "pl": ("Nieprawidłowo. Spróbuj ponownie.", "Telefon lub adres e-mail", "Kod potwierdzający"),
    "pt": ("Incorreto. Tente novamente.", "Celular ou e-mail", "Código de confirmação"),
    "ro": ("Incorect. Încearcă din nou.", "Telefon sau e-mail", "Cod de confirmare"),
    "ru": ("Неверно. Повторите попытку.", "Номер телефона или адрес электронной почты",
           "Код подтверждения"),
    "sk": ("Nesprávne. Skúste to znova.", "Telefón alebo e-mail", "Potvrdzovací kód"),
    "sr": ("Нетачно. Покушајте поново.", "Телефон или имејл", "Код за потврду"),
    "sv": ("Felaktigt. Försök igen.", "Telefonnummer eller e-postadress", "Bekräftelsekod"),
    "ta": ("தவறானது. மீண்டும் முயற்சிக்கவும்.", "ஃபோன் அல்லது மின்னஞ்சல்", "உறுதிப்படுத்தல் குறியீடு"),
    "th": ("ไม่ถูกต้อง โปรดลองอีกครั้ง", "โทรศัพท์หรืออีเมล", "รหัสยืนยัน"),
    "tr": ("YANLIŞ. Lütfen tekrar dene.", "Telefon veya e-posta adresi", "Onay kodu"),
    "uk": ("Неправильно. Спробуйте ще раз.", "Телефон або електронна пошта", "Код підтвердження"),
    "ur": ("غلط۔ دوبارہ کوشش کریں۔", "فون یا ای میل", "تصدیقی کوڈ"),
    "vi": ("Không chính xác. Vui lòng thử lại.", "Số điện thoại hoặc email", "Mã xác nhận"),
    "zh-CN": ("不正确。请重试。", "手机号码或电子邮件地址", "验证码"),
    "zh-TW": ("不正確。請再試一次。", "手機號碼或電子郵件地址", "驗證碼"),
}  # fmt: skip


def test_every_language_is_tried() -> None:
    """A language without a saying here is one whose words nobody has read again."""
    assert SAYINGS.keys() == WORDS.keys()
    assert all(cell for row in WORDS.values() for column in row for cell in column)


@pytest.mark.parametrize("language", SAYINGS)
def test_each_language_is_read(language: str) -> None:
    """A refusal is one, a hint that asks for an address takes no code, any other does."""
    refusal, address, code = SAYINGS[language]
    assert refuses(refusal)
    assert not refuses(address)
    assert not refuses(code)
    assert asks_for_address(address)
    assert not asks_for_address(code)
    assert not asks_for_address(refusal)


@pytest.mark.parametrize(
    "text",
    [
        "Could not log you in now. Please try again later.",
        "Zu viele falsche Codes.",
        "Demasiados códigos incorrectos.",
        "Something went wrong. We could not send you a code.",
        "Något gick fel. Vi kunde inte skicka koden.",
        "Invalid request. Please try again.",
        "Invalid flow token",
        "Ungültige Anfrage",
        "잘못된 요청입니다.",
        "Your session expired. Please log in again to get a new code.",
        "Saisissez le code.",
        "Felfüggesztettük a fiókodat.",
        "Please enter the code.",
        "Invalid request. Error code 131",
        "Something went wrong with the code.",
        "To protect our users from spam and other malicious activity",
        "",
        "0" * 1_000_000,
    ],
)
def test_what_refuses_no_code(text: str) -> None:
    """Too many wrong codes are a limit; and a word of one language may begin another's."""
    assert not refuses(text)


@pytest.mark.parametrize(
    "text",
    [
        "Der eingegebene Code ist ungültig.",
        "Le code est incorrect.",
        "El código no es válido.",
        "认证码错误",
        "INCORRECT!",
        "\u200eIncorrect\u200f. Try again",
        "… wrong",
    ],
)
def test_what_refuses_a_code(text: str) -> None:
    """It begins so, or names the code, too; marks that nobody sees do not matter."""
    assert refuses(text)


EXPIRIES = {
    # Language: an expired code, an expired session.
    "en": ("This code has expired.", "Your session has expired. Log in to get a new code."),
    "ar": ("انتهت صلاحية الرمز.", "انتهت صلاحية الجلسة. سجّل الدخول للحصول على رمز."),
    "de": ("Dieser Code ist abgelaufen.", "Deine Sitzung ist abgelaufen. Fordere einen Code an."),
    "es": ("Este código ha caducado.", "Tu sesión ha caducado. Pide otro código."),
    "fr": ("Ce code a expiré.", "Votre session a expiré. Demandez un code."),
    "hi": ("कोड की समय सीमा समाप्त हो गई है।", "सत्र समाप्त हो गया। नया कोड लें।"),
    "id": ("Kode sudah kedaluwarsa.", "Sesi Anda telah kedaluwarsa. Minta kode baru."),
    "it": ("Il codice è scaduto.", "La tua sessione è scaduta. Richiedi un codice."),
    "ja": ("コードの有効期限が切れています。",
           "セッションの有効期限が切れました。コードを取得してください。"),
    "ko": ("코드가 만료되었습니다.", "세션이 만료되었습니다. 코드를 다시 받으세요."),
    "nl": ("De code is verlopen.", "Je sessie is verlopen. Vraag een code aan."),
    "pl": ("Kod wygasł.", "Twoja sesja wygasła. Poproś o nowy kod."),
    "pt": ("O código expirou. Código expirado.", "Sua sessão expirou. Peça um código."),
    "ru": ("Срок действия кода истек.", "Время сеанса истекло. Запросите код."),
    "th": ("รหัสหมดอายุแล้ว", "เซสชันหมดอายุแล้ว โปรดขอรหัสใหม่"),
    "tr": ("Kodun süresi doldu.", "Oturumunun süresi doldu. Yeni bir kod iste."),
    "vi": ("Mã đã hết hạn.", "Phiên đăng nhập đã hết hạn. Hãy lấy mã mới."),
    "zh-CN": ("验证码已过期。", "登录已失效，请重新获取验证码。"),
    "zh-TW": ("驗證碼已過期。", "工作階段逾時，請重新取得驗證碼。"),
}  # fmt: skip


@pytest.mark.parametrize("language", EXPIRIES)
def test_an_expired_code_is_refused_and_an_expired_session_is_not(language: str) -> None:
    """The first needs another code, the second another login."""
    code, session = EXPIRIES[language]
    assert refuses(code)
    assert not refuses(session)


@pytest.mark.parametrize(
    "text",
    [
        "Sorry, that code is not correct.",
        "This code was already used.",
        "The code you entered has already been used.",
        "That code is no longer valid.",
        "Sorry, that's not the code we sent you.",
        "Please enter a valid confirmation code.",
    ],
)
def test_a_refusal_is_one_in_other_words(text: str) -> None:
    """A used code is as good as a wrong one."""
    assert refuses(text)
    assert not refuses("Please enter a valid phone number to get a code.")


@pytest.mark.parametrize(
    "hint",
    [
        "Email address", "EMAIL", "Your email", "Enter your phone number or username", "@username",
        "Phone number associated with your X account", "Confirm your email address", "Ｅmail",
        "Adresse e-mail", "Nutzername", "ユーザー名", "اسم المستخدم", "Имя пользователя", "用户名",
    ],
)  # fmt: skip
def test_a_hint_that_plainly_asks_for_an_address(hint: str) -> None:
    """Nothing is left of it but words for that."""
    assert asks_for_address(hint)


@pytest.mark.parametrize(
    "hint",
    [
        "", "   ", "Code", "Enter code", "Verification code", "Check your email", "Email code",
        "Code from your email", "We emailed you", "Telefoncode", "E-Mail-Code", "telefonkod",
        "手机验证码", "メールを確認", "Something new", "123456", "!", "Number",
    ],
)  # fmt: skip
def test_a_hint_that_does_not(hint: str) -> None:
    """The caller has said that a code was sent, so it goes there."""
    assert not asks_for_address(hint)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("Use a code generator app", "APP"),
        ("Use a backup code", "BACKUP"),
        ("Text message to +1 *** 01", "SMS"),
        ("We sent it to p*****@e***.***: check your email", "EMAIL"),
        ("We texted your phone", "SMS"),
        ("Authentifizierungs-App", "APP"),
        ("Ersatzcode", "BACKUP"),
        ("バックアップコード", "BACKUP"),
        ("認証アプリを使用", "APP"),
        ("Код из приложения для аутентификации", "APP"),
        ("短信验证码", "SMS"),
        ("Security key", None),
        ("", None),
    ],
)
def test_where_a_code_comes_from(text: str, source: str | None) -> None:
    """A source word of ours is all that is passed on of it."""
    assert source_in(text) == source


def test_a_long_text_is_read_quickly() -> None:
    """It is read on the loop that serves everybody."""
    started = time.monotonic()
    for text in ("email " * 500_000, "wrong " * 500_000, "e-" * 500_000, "メ" * 500_000):
        asks_for_address(text)
        refuses(text)
        source_in(text)
    assert time.monotonic() - started < 20  # Seconds; without a bound it is minutes.
