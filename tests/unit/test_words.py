"""Words decide last, and in every language that they are known in.

The sentences are ours, in the manner of the providers'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import pytest

from checkpoint_worker.providers.linkedin import meanings as of_linkedin
from checkpoint_worker.providers.linkedin.meanings import sign_of_words
from checkpoint_worker.providers.live_session.browser.recipes import recipe_for
from checkpoint_worker.providers.meanings import (
    INTERNAL,
    PROBLEM_WORDS,
    THROTTLED,
    WAIT_WORDS,
    asks_to_wait,
    plain,
    reports_problem,
)
from checkpoint_worker.providers.messenger import meanings as of_messenger
from checkpoint_worker.providers.messenger.errors import error_in, sign_of
from checkpoint_worker.providers.twitter.words import refuses
from tests.support import instagram_sentences as sentences

WAIT: Final = {
    **sentences.WAIT,
    "ca": "Massa intents. Torna-ho a provar més tard.",
}
LATER: Final = {
    "ar": "يُرجى المحاولة مرة أخرى لاحقًا.",
    "bg": "Опитайте отново по-късно.",
    "ca": "Torna-ho a provar més tard.",
    "cs": "Zkuste to znovu později.",
    "da": "Prøv igen senere.",
    "de": "Bitte versuchen Sie es später erneut.",
    "el": "Δοκιμάστε ξανά αργότερα.",
    "en": "Please try again tomorrow.",
    "es": "Inténtalo de nuevo más tarde.",
    "fa": "لطفاً بعداً دوباره امتحان کنید.",
    "fi": "Yritä myöhemmin uudelleen.",
    "fr": "Veuillez réessayer plus tard.",
    "he": "נסה שוב מאוחר יותר.",
    "hi": "कृपया बाद में पुनः प्रयास करें।",
    "hr": "Pokušajte ponovno kasnije.",
    "hu": "Próbáld újra később.",
    "id": "Coba lagi nanti.",
    "it": "Riprova più tardi.",
    "ja": "後でもう一度お試しください。",
    "ko": "나중에 다시 시도해 주세요.",
    "ms": "Sila cuba lagi sebentar lagi.",
    "nb": "Prøv igjen senere.",
    "nl": "Probeer het later opnieuw.",
    "pl": "Spróbuj ponownie później.",
    "pt": "Tente novamente mais tarde.",
    "ro": "Încearcă din nou mai târziu.",
    "ru": "Повторите попытку позже.",
    "sk": "Skúste to znova neskôr.",
    "sr": "Покушајте поново касније.",
    "sv": "Försök igen senare.",
    "th": "โปรดลองอีกครั้งในภายหลัง",
    "tr": "Lütfen daha sonra tekrar deneyin.",
    "uk": "Спробуйте ще раз пізніше.",
    "ur": "براہ کرم بعد میں دوبارہ کوشش کریں۔",
    "vi": "Vui lòng thử lại sau.",
    "zh": "请稍后再试。",
}
PROBLEM: Final = {
    **sentences.PROBLEM,
    "af": "Daar was 'n probleem met jou versoek.",
    "ar": "حدث خطأ ما.",
    "bg": "Възникна грешка.",
    "bn": "একটি সমস্যা হয়েছে।",
    "cs": "Něco se pokazilo.",
    "el": "Παρουσιάστηκε σφάλμα.",
    "et": "Midagi läks valesti.",
    "fa": "مشکلی در درخواست شما رخ داد.",
    "fi": "Jokin meni pieleen.",
    "gu": "એક સમસ્યા આવી.",
    "he": "משהו השתבש.",
    "hi": "कुछ गड़बड़ हो गई।",
    "hr": "Došlo je do pogreške.",
    "hu": "Hiba történt.",
    "ko": "문제가 발생했습니다.",
    "mr": "एक समस्या आली.",
    "ms": "Berlaku ralat.",
    "nb": "Noe gikk galt.",
    "ro": "A apărut o eroare.",
    "sk": "Niečo sa pokazilo.",
    "sr": "Дошло је до грешке.",
    "th": "เกิดข้อผิดพลาด",
    "tl": "Nagkaroon ng problema.",
    "uk": "Щось пішло не так.",
    "ur": "ایک مسئلہ پیش آیا۔",
    "vi": "Đã xảy ra lỗi.",
}
LINKEDIN: Final[Mapping[str, Mapping[str, str]]] = {
    "restricted": {
        "en": "Access to your account has been temporarily restricted",
        "de": "Ihr Konto wurde vorübergehend eingeschränkt",
        "fr": "Votre compte a été temporairement restreint",
        "es": "Tu cuenta está temporalmente restringida",
        "pt": "Sua conta foi temporariamente restringida",
        "it": "Il tuo account è stato temporaneamente limitato",
        "nl": "Uw account is tijdelijk beperkt",
        "sv": "Ditt konto är tillfälligt begränsat",
        "da": "Din konto er midlertidigt begrænset",
        "no": "Kontoen din er midlertidig begrenset",
        "pl": "Twoje konto zostało tymczasowo ograniczone",
        "cs": "Váš účet je dočasně omezen",
        "ro": "Contul dvs. este restricționat",
        "tr": "Hesabınız geçici olarak kısıtlandı",
        "ru": "Ваш аккаунт временно ограничен",
        "uk": "Ваш обліковий запис тимчасово обмежено",
        "ar": "تم تقييد حسابك مؤقتًا",
        "zh": "您的帐户已被限制",
        "ja": "アカウントが一時的に制限されています",
        "ko": "회원님의 계정이 일시적으로 제한되었습니다",
        "id": "Akun Anda telah dibatasi",
        "hi": "आपका अकाउंट अस्थायी रूप से प्रतिबंधित है",
    },
    "captcha": {
        "en": "Let’s do a quick security check",
        "de": "Führen wir eine kurze Sicherheitsüberprüfung durch",
        "fr": "Procédons à une petite vérification de sécurité",
        "es": "Hagamos una comprobación de seguridad",
        "pt": "Vamos fazer uma verificação rápida de segurança",
        "it": "Facciamo un rapido controllo di sicurezza",
        "nl": "Laten we een snelle beveiligingscontrole uitvoeren",
        "sv": "Låt oss göra en snabb säkerhetskontroll",
        "da": "Lad os lave et hurtigt sikkerhedstjek",
        "no": "La oss ta en rask sikkerhetssjekk",
        "pl": "Przeprowadźmy szybką weryfikację bezpieczeństwa",
        "cs": "Proveďme rychlou bezpečnostní kontrolu",
        "ro": "Să facem o scurtă verificare de securitate",
        "tr": "Hızlı bir güvenlik kontrolü yapalım",
        "ru": "Проверка безопасности",
        "uk": "Швидка перевірка безпеки",
        "ar": "دعنا نجري فحص أمني سريع",
        "zh": "让我们进行快速安全检查",
        "ja": "簡単なセキュリティチェックを行います",
        "ko": "간단한 보안 확인을 진행하겠습니다",
        "id": "Mari lakukan pemeriksaan keamanan singkat",
        "hi": "एक त्वरित सुरक्षा जाँच करें",
    },
    "approval": {
        "en": "Check your LinkedIn app",
        "de": "Öffnen Sie Ihre LinkedIn-App",
        "fr": "Consultez votre application LinkedIn",
        "es": "Consulta tu aplicación de LinkedIn",
        "pt": "Verifique seu aplicativo LinkedIn",
        "it": "Controlla la tua app LinkedIn",
        "nl": "Controleer uw LinkedIn-app",
        "pl": "Sprawdź aplikację LinkedIn",
        "tr": "LinkedIn uygulamanızı kontrol edin",
        "ru": "Откройте приложение LinkedIn",
        "ar": "تحقق من تطبيق LinkedIn",
        "zh": "查看您的领英应用",
        "ja": "LinkedInアプリを確認してください",
        "ko": "LinkedIn 앱을 확인하세요",
    },
    "password": {
        "en": "Please choose a more secure password",
        "de": "Wählen Sie ein sichereres Passwort",
        "fr": "Choisissez un mot de passe plus sûr",
        "es": "Elige una contraseña más segura",
        "pt": "Escolha uma senha mais segura",
        "it": "Scegli una password più sicura",
        "nl": "Kies een veiliger wachtwoord",
        "pl": "Wybierz bezpieczniejsze hasło",
        "tr": "Daha güvenli bir şifre seçin",
        "ru": "Выберите более надежный пароль",
        "ar": "اختر كلمة مرور جديدة",
        "zh": "请选择更安全的密码",
        "ja": "より安全なパスワードを選択してください",
        "ko": "더 안전한 비밀번호를 선택하세요",
    },
    "identity": {
        "en": "Upload a government-issued ID",
        "de": "Bitte halten Sie Ihr Ausweisdokument bereit",
        "fr": "Vérifiez votre identité",
        "es": "Verifica tu identidad",
        "pt": "Verifique a sua identidade",
        "it": "Conferma la tua identità",
        "nl": "Bevestig uw identiteit",
        "pl": "Potwierdź swoją tożsamość",
        "tr": "Kimliğinizi doğrulayın",
        "ru": "Подтвердите свою личность",
        "ar": "تأكيد هويتك",
        "zh": "验证您的身份",
        "ja": "本人確認が必要です",
        "ko": "본인 인증이 필요합니다",
    },
    "consent": {"en": "Agree to comply"},
    "passkey": {"en": "Use your passkey"},
    "old client": {
        "en": "This browser is no longer supported",
        "de": "Ihr Browser wird nicht mehr unterstützt",
        "fr": "Votre navigateur n’est pas compatible",
        "es": "Tu navegador no es compatible",
        "pt": "Seu navegador não é compatível",
    },
    "access denied": {"en": "Access denied"},
    "refused": {
        "en": "The verification code you entered isn’t valid",
        "de": "Der eingegebene Code ist ungültig",
        "fr": "Le code saisi n’est pas valide",
        "es": "El código que has introducido no es válido",
        "pt": "O código inserido não é válido",
        "it": "Il codice inserito non è valido",
        "nl": "De ingevoerde code is niet geldig",
        "sv": "Koden du angav är inte giltig",
        "da": "Koden er ikke gyldig",
        "no": "Koden du oppga er ugyldig",
        "pl": "Wprowadzony kod jest nieprawidłowy",
        "cs": "Zadaný kód není platný",
        "ro": "Codul introdus nu este valid",
        "tr": "Girdiğiniz kod geçerli değil",
        "ru": "Введенный код недействителен",
        "uk": "Введений код недійсний",
        "ar": "الرمز الذي أدخلته غير صحيح",
        "zh": "您输入的验证码无效",
        "ja": "入力したコードは正しくありません",
        "ko": "입력한 코드가 올바르지 않습니다",
        "id": "Kode yang Anda masukkan tidak valid",
        "hi": "आपने जो कोड दर्ज किया है वह मान्य नहीं है",
    },
}

SECURITY: Final = {
    "en": "A security check is required to proceed",
    "de": "Bitte schließe die Sicherheitsüberprüfung ab",
    "fr": "Confirmez votre identité",
    "es": "Confirma tu identidad",
    "pt": "Confirme sua identidade",
    "it": "Conferma la tua identità",
    "nl": "Bevestig je identiteit",
    "pl": "Potwierdź swoją tożsamość",
    "sv": "Bekräfta din identitet",
    "cs": "Potvrďte svou totožnost",
    "ro": "Este necesară o verificare de securitate",
    "hu": "Biztonsági ellenőrzés szükséges",
    "el": "Απαιτείται έλεγχος ασφαλείας",
    "tr": "Kimliğini doğrula",
    "ru": "Подтвердите свою личность",
    "uk": "Потрібна перевірка безпеки",
    "ar": "يجب تأكيد هويتك",
    "he": "נדרשת בדיקת אבטחה",
    "hi": "सुरक्षा जाँच आवश्यक है",
    "bn": "নিরাপত্তা যাচাই প্রয়োজন",
    "vi": "Hãy hoàn tất quá trình kiểm tra bảo mật để đăng nhập",
    "th": "โปรดตรวจสอบความปลอดภัย",
    "id": "Konfirmasi identitas Anda",
    "ms": "Sahkan identiti anda",
    "tl": "Kumpirmahin na ikaw ito",
    "zh": "请完成安全检查",
    "ja": "セキュリティチェックが必要です",
    "ko": "보안 확인이 필요합니다",
}
BLOCKED: Final = {
    "en": "You’re temporarily blocked from logging in",
    "de": "Du wurdest vorübergehend blockiert",
    "fr": "Vous êtes temporairement bloqué",
    "es": "Estás bloqueado temporalmente",
    "pt": "Você está bloqueado temporariamente",
    "it": "Sei stato temporaneamente bloccato",
    "nl": "Je bent tijdelijk geblokkeerd",
    "pl": "Zostałeś tymczasowo zablokowany",
    "sv": "Du är tillfälligt blockerad",
    "cs": "Jste dočasně zablokováni",
    "ro": "Ai fost blocat temporar",
    "hu": "Ideiglenesen letiltottunk",
    "el": "Έχετε προσωρινά αποκλειστεί",
    "tr": "Geçici olarak engellendin",
    "ru": "Вы временно заблокированы",
    "uk": "Вас тимчасово заблоковано",
    "ar": "تم حظرك مؤقتًا",
    "he": "נחסמת באופן זמני",
    "hi": "आपको अस्थायी रूप से ब्लॉक किया गया है",
    "bn": "আপনাকে সাময়িকভাবে ব্লক করা হয়েছে",
    "vi": "Bạn tạm thời bị chặn",
    "th": "คุณถูกบล็อกชั่วคราว",
    "id": "Anda diblokir sementara",
    "ms": "Anda disekat sementara",
    "tl": "Pansamantalang na-block ka",
    "zh": "你已被暂时封锁",
    "ja": "一時的にブロックされています",
    "ko": "일시적으로 차단되었습니다",
}
MESSENGER: Final[Mapping[str, tuple[int, Mapping[str, str]]]] = {
    "security check": (368, SECURITY),
    "blocked for a while": (368, BLOCKED),
    "disabled": (
        9001,
        {
            "en": "Your account has been disabled",
            "de": "Dein Konto wurde deaktiviert",
            "fr": "Votre compte a été désactivé",
            "es": "Tu cuenta ha sido inhabilitada",
            "pt": "Sua conta foi desativada",
            "it": "Il tuo account è stato disabilitato",
            "nl": "Je account is uitgeschakeld",
            "pl": "Twoje konto zostało wyłączone",
            "sv": "Ditt konto har inaktiverats",
            "tr": "Hesabın devre dışı bırakıldı",
            "ru": "Ваш аккаунт отключен",
            "uk": "Ваш обліковий запис вимкнено",
            "ar": "تم تعطيل حسابك",
            "hi": "आपका खाता बंद कर दिया गया है",
            "vi": "Tài khoản của bạn đã bị vô hiệu hóa",
            "th": "บัญชีของคุณถูกปิด",
            "id": "Akun Anda telah dinonaktifkan",
            "zh": "你的帐户已被停用",
            "ja": "アカウントが停止されています",
            "ko": "계정이 비활성화되었습니다",
        },
    ),
    "account held": (401, {"en": "Your account is temporarily unavailable"}),
    "new password": (190, {"en": "The user changed their password"}),
    "session expired": (
        102,
        {
            "en": "Your session has expired",
            "de": "Deine Sitzung ist abgelaufen",
            "fr": "Votre session a expiré",
            "es": "Tu sesión ha caducado",
            "pt": "Sua sessão expirou",
            "it": "La tua sessione è scaduta",
            "nl": "Je sessie is verlopen",
            "pl": "Twoja sesja wygasła",
            "tr": "Oturumunun süresi doldu",
            "ru": "Сеанс истек",
            "ar": "انتهت صلاحية الجلسة",
            "hi": "सत्र समाप्त हो गया",
            "vi": "Phiên đăng nhập đã hết hạn",
            "th": "เซสชันหมดอายุแล้ว",
            "id": "Sesi Anda telah berakhir",
            "zh": "会话已过期",
            "ja": "セッションの有効期限が切れました",
            "ko": "세션이 만료되었습니다",
        },
    ),
    "refused in words": (
        100,
        {
            "en": "The login code you entered doesn’t match the one sent to your phone",
            "de": "Der Code, den du eingegeben hast, ist falsch",
            "fr": "Le code que vous avez saisi est incorrect",
            "es": "El código que ingresaste es incorrecto",
            "pt": "O código que você inseriu está incorreto",
            "it": "Il codice inserito è errato",
            "nl": "De code die je hebt ingevoerd, is onjuist",
            "pl": "Wprowadzony kod jest nieprawidłowy",
            "sv": "Koden du angav är fel",
            "cs": "Zadaný kód je nesprávný",
            "ro": "Codul introdus este incorect",
            "hu": "A megadott kód helytelen",
            "el": "Ο κωδικός που πληκτρολογήσατε είναι εσφαλμένος",
            "tr": "Girdiğin kod yanlış",
            "ru": "Введен неверный код",
            "uk": "Введено неправильний код",
            "ar": "الرمز الذي أدخلته غير صحيح",
            "he": "הקוד שהזנת שגוי",
            "hi": "आपने जो कोड डाला है वह गलत है",
            "bn": "আপনার দেওয়া কোডটি ভুল",
            "vi": "Mã đăng nhập bạn nhập không đúng",
            "th": "รหัสที่คุณป้อนไม่ถูกต้อง",
            "id": "Kode yang Anda masukkan salah",
            "ms": "Kod yang anda masukkan salah",
            "tl": "Maling login code ang nailagay",
            "zh": "您输入的验证码不正确",
            "ja": "入力されたコードが正しくありません",
            "ko": "입력한 코드가 올바르지 않습니다",
        },
    ),
    "old app": (
        9001,
        {
            "en": "Please update your app",
            "de": "Bitte aktualisiere deine App",
            "fr": "Mettez à jour l’application",
            "es": "Actualiza la aplicación",
            "pt": "Atualize o aplicativo",
            "vi": "Vui lòng cập nhật ứng dụng",
            "ru": "Обновите приложение",
            "ar": "يرجى تحديث التطبيق",
            "id": "Perbarui aplikasi Anda",
            "zh": "请更新应用",
        },
    ),
}
"""Meaning to a number beside which its words decide, and the words."""

FACTOR = {"login_first_factor": "f-2"}
"""With it an error asks for the code again."""


def test_every_language_of_a_sign_has_a_sentence() -> None:
    """A pattern that no sentence fits is none."""
    spoken = {sign.name: set(sign.words) for sign in of_linkedin.SPOKEN if sign.words}
    spoken |= {of_linkedin.PROBLEM.name: set(of_linkedin.PROBLEM.words)}
    shared = {"too many": set(WAIT), "problem": set(PROBLEM)}
    assert {name: set(words) for name, words in LINKEDIN.items()} | shared == spoken
    said = {each.name: set(each.words) for each in of_messenger.MEANINGS if each.words}
    shared = {"too many wrong codes": set(WAIT), "problem": set(PROBLEM)}
    assert {name: set(words) for name, (_, words) in MESSENGER.items()} | shared == said


@pytest.mark.parametrize("language", WAIT)
def test_a_sentence_that_asks_to_wait_judges_no_code(language: str) -> None:
    """At any provider, even where it names a wrong code."""
    sentence = WAIT[language]
    assert re.search(WAIT_WORDS[language], plain(sentence))
    sign = sign_of_words(f"LinkedIn {sentence}")
    assert sign is of_linkedin.TOO_MANY
    assert not refuses(f"Wrong code. {sentence}")
    for of in ({"code": 7}, {"code": 401}, {"code": 406, "error_data": FACTOR}):
        error = error_in({"error": {**of, "message": f"Wrong code. {sentence}"}})
        assert error is not None
        found = sign_of(error)
        assert found is not None
        assert found.meaning is THROTTLED
    assert recipe_for("LINKEDIN").throttles(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "You have exceeded the maximum number of attempts.",
        "You've reached the limit for codes.",
        "Rate limit exceeded.",
        "User request limit reached.",
        "You have reached your daily limit.",
        "Du hast die maximale Anzahl an Versuchen erreicht.",
        "Vous avez atteint le nombre maximal de tentatives.",
        "Has superado el número máximo de intentos.",
        "Você atingiu o número máximo de tentativas.",
        "Hai raggiunto il numero massimo di tentativi.",
        "You have exceeded the number of allowed attempts.",
        "Maximum verification attempts reached.",
        "Attempt limit exceeded.",
        "You have used all your attempts.",
        "You are being rate limited.",
        "Die zulässige Anzahl von Versuchen wurde überschritten.",
        "Vous avez dépassé le nombre de tentatives autorisées.",
        "Has superado el número de intentos permitidos.",
        "Você excedeu o número de tentativas.",
        "Hai superato il numero di tentativi consentiti.",
    ],
)
def test_a_sentence_about_a_limit_judges_no_code(sentence: str) -> None:
    """The number of tries is spent, whatever this code was."""
    assert asks_to_wait(sentence)
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.TOO_MANY
    assert not refuses(f"Wrong code. {sentence}")


@pytest.mark.parametrize("language", LATER)
def test_a_sentence_that_asks_to_try_later_judges_no_code(language: str) -> None:
    """It is how a provider writes that it does not look at codes now, wrong or right."""
    sentence = LATER[language]
    assert re.search(WAIT_WORDS[language], plain(sentence))
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.TOO_MANY
    assert not refuses(f"Wrong code. {sentence}")


@pytest.mark.parametrize(
    "sentence",
    [
        "Add a phone number later",
        "Später",
        "Plus tard",
        "Más tarde",
        "Incorrect code. 2 attempts left.",
        "Enter the code. You can change your settings later.",
    ],
)
def test_a_sentence_that_names_a_later_time_may_ask_for_nothing(sentence: str) -> None:
    """A button to skip a step is no limit."""
    assert not asks_to_wait(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "An error has occurred.",
        "Unknown error occurred",
        "There was an unexpected problem that prevented us from completing your request.",
        "There was an issue.",
        "Sorry, something unexpected happened. Please try again.",
        "We're unable to verify your code right now.",
        "We are having trouble. Please try again.",
        "We are unable to process your request.",
        "Our system is temporarily down.",
        "This service is currently unavailable.",
        "Your request timed out.",
        "Network error. Please try again.",
        "Es gab ein Problem. Bitte versuchen Sie es erneut.",
        "Ein Problem ist aufgetreten.",
        "Ihre Anfrage kann derzeit nicht bearbeitet werden.",
        "Nous rencontrons un problème.",
        "Se ha producido un error.",
        "Ocurrió un error inesperado.",
        "Tivemos um problema.",
    ],
)
def test_an_error_of_the_provider_s_own_is_a_fault_of_it(sentence: str) -> None:
    """Whatever it calls the fault, and in whichever tense."""
    assert reports_problem(sentence)
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.PROBLEM


@pytest.mark.parametrize(
    "sentence",
    [
        "There was a problem with your verification code.",
        "That code isn't valid. Something went wrong?",
        "The code has timed out.",
    ],
)
def test_a_fault_of_the_code_is_none_of_the_provider(sentence: str) -> None:
    """The person has to type another one, so the refusal has to reach them."""
    sign = sign_of_words(sentence, of_linkedin.IN_ERROR)
    assert sign is None or sign is of_linkedin.REFUSED


@pytest.mark.parametrize(
    "sentence",
    [
        "Your session timed out. Please sign in again.",
        "This challenge has expired. Please start over.",
        "Your sign-in request has expired.",
        "This login attempt has timed out.",
    ],
)
def test_an_expired_login_judges_no_code(sentence: str) -> None:
    """The code was not looked at."""
    sign = sign_of_words(sentence, of_linkedin.IN_ERROR)
    assert sign is not None
    assert sign.name == "session expired"
    assert not refuses(f"{sentence} A wrong code.")


@pytest.mark.parametrize(
    "sentence",
    [
        "This account is temporarily restricted.",
        "Your LinkedIn account has been temporarily restricted.",
        "Your account is currently restricted.",
        "Access to your LinkedIn account is restricted.",
        "We've temporarily restricted your account.",
    ],
)
def test_a_restriction_is_one_in_other_words(sentence: str) -> None:
    """On a page of its own and in the form's error alike."""
    assert sign_of_words(sentence) is of_linkedin.RESTRICTED
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.RESTRICTED


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("Let’s confirm your identity", "identity"),
        ("Open the LinkedIn app and tap Yes", "approval"),
        ("We sent a notification to your LinkedIn app", "approval"),
        ("Please make sure you have cookies enabled and try again", "old client"),
    ],
)
def test_a_step_on_a_page_is_known_in_other_words(sentence: str, name: str) -> None:
    """An answer that is understood is not in doubt."""
    sign = sign_of_words(sentence)
    assert sign is not None
    assert sign.name == name


def test_a_form_that_asks_for_another_client_judges_no_code() -> None:
    """The operator mends it, not the person."""
    sentence = "Please enable cookies in your browser."
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.OLD_CLIENT


@pytest.mark.parametrize("language", PROBLEM)
def test_a_sentence_about_a_fault_of_the_provider_judges_no_code(language: str) -> None:
    """Its word for "wrong" is not said of the code."""
    sentence = PROBLEM[language]
    assert re.search(PROBLEM_WORDS[language], plain(sentence))
    assert sign_of_words(sentence, of_linkedin.IN_ERROR) is of_linkedin.PROBLEM
    assert not refuses(sentence)
    for of in ({"code": 401}, {"code": 406, "error_data": FACTOR}):
        error = error_in({"error": {**of, "message": sentence}})
        assert error is not None
        found = sign_of(error)
        assert found is not None
        assert found.meaning is INTERNAL
    assert recipe_for("LINKEDIN").throttles(sentence)


@pytest.mark.parametrize(
    ("name", "language"), [(name, each) for name, words in LINKEDIN.items() for each in words]
)
def test_a_page_of_linkedin_is_understood(name: str, language: str) -> None:
    """By the pattern of its language, and by no other sign."""
    sentence = LINKEDIN[name][language]
    sign = sign_of_words(f"LinkedIn {sentence}." if name != "access denied" else sentence)
    assert sign is not None
    assert sign.name == name
    found = next(each for each in of_linkedin.SPOKEN if each.name == name)
    assert type(found)(name, found.meaning, words={"": found.words[language]}).is_said(
        plain(sentence)
    )


@pytest.mark.parametrize(
    ("name", "language"), [(name, each) for name, (_, words) in MESSENGER.items() for each in words]
)
def test_an_error_of_messenger_is_understood(name: str, language: str) -> None:
    """By its words, where its number does not decide."""
    code, words = MESSENGER[name]
    error = error_in({"error": {"code": code, "error_user_msg": f"{words[language]}."}})
    assert error is not None
    sign = sign_of(error)
    assert sign is not None
    assert sign.name == name


@pytest.mark.parametrize(
    "sentence",
    [
        "Enter the code we sent to your email address",
        "The code is valid for 15 minutes",
        "Der Code ist 15 Minuten gültig",
        "If your account has been restricted, visit the help centre",
        "We sent a new verification code",
        "Welcome back",
    ],
)
def test_a_sentence_about_something_else_says_nothing(sentence: str) -> None:
    """Words that are near a sign's are none of it."""
    assert sign_of_words(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "Enter the code from your authenticator app",
        "This feature is disabled",
        "Two-factor authentication is disabled for this app",
        "We could not reach the server",
    ],
)
def test_an_error_about_something_else_says_nothing(sentence: str) -> None:
    """An unknown number with such words is a doubt, and ends nothing."""
    error = error_in({"error": {"code": 9001, "message": sentence}})
    assert error is not None
    assert sign_of(error) is None
