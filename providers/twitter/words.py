# ruff: noqa: RUF001  words of other scripts have letters that look like Latin ones
"""The texts of TWITTER's answers, in the languages of its site.

They are read last, after statuses, error numbers, subtask ids and field names
(`providers.twitter.meanings`). Texts alone decide three questions: whether an error 399 refuses the
code, whether a field asks for an address instead of a code, and where a code comes from. English
texts are from reports, the others are translations. A text in another language has no meaning here,
and an answer without a meaning is in doubt.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from checkpoint_worker.providers.contract import fold
from checkpoint_worker.providers.meanings import (
    SESSION_EXPIRED,
    asks_to_wait,
    plain,
    without_problem,
)

TEXT_MAX: Final = 2_000
"""Limit of characters that are read; some patterns are quadratic."""


class Words(NamedTuple):
    """The words of one language; beginnings of words, in lower case.

    Attributes:
        wrong: The input is wrong or expired.
        code: A code.
        email: Address of an email.
        phone: Telephone, or its number.
        name: The account's name.
        small: Words that may stand beside these three without changing the wanted input.
        app: An app that makes codes.
        backup: A code for emergencies.
        text: A text message.
    """

    wrong: tuple[str, ...]
    code: tuple[str, ...]
    email: tuple[str, ...]
    phone: tuple[str, ...]
    name: tuple[str, ...]
    small: tuple[str, ...]
    app: tuple[str, ...]
    backup: tuple[str, ...]
    text: tuple[str, ...]


# Each language is a paragraph; semicolons separate the columns of `Words`.
_TABLE: Final = """
en; incorrect, wrong, invalid, not valid, not correct, isn't right, isn't correct, isn't valid,
  not the right, not the code, doesn't match, does not match, didn't work, expired, no longer
  valid, already used, already been used, enter a valid code, enter a valid confirmation, enter a
  valid verification; code, pin, passcode, digits; email, e-mail, mail, address; phone, mobile,
  telephone, cell; username, user name, handle, screen name; or, and, your, the, a, an, of, enter,
  type, in, please, number, x, twitter, account, associated, linked, with, to, for, this;
  authenticat, code generat; backup, back-up, recovery; text message, texted, sms
ar; غير صحيح, خاطئ, خطأ, غير صالح, انتهت صلاحية; رمز, كود, الرمز; البريد الإلكتروني, بريد
  إلكتروني, بريدك الإلكتروني, عنوان البريد; الهاتف, هاتف, هاتفك, الجوال; اسم المستخدم, المستخدم;
  أو, أدخل, رقم; تطبيق المصادقة, تطبيق مصادقة, تطبيق إنشاء; احتياطي; رسالة نصية
bg; неправил, грешн, невалид; код; имейл, електронна поща; телефон, мобилен; потребителско име;
  или, вашия, вашият, въведете, номер, адрес; удостоверяване, генератор; резервен; текстово
  съобщение, sms
bn; ভুল, সঠিক নয়, অবৈধ; কোড; ইমেইল, ইমেল; ফোন; ব্যবহারকারীর নাম, ইউজারনেম; বা, আপনার, নম্বর,
  ঠিকানা; প্রমাণীকরণ অ্যাপ; ব্যাকআপ; এসএমএস, টেক্সট মেসেজ
ca; incorrect, no és vàlid, no vàlid, erroni; codi; correu; telèfon, mòbil; nom d'usuari; o, el,
  la, teu, teva, electrònic, adreça, número, de; autenticació; còpia de seguretat, reserva;
  missatge de text, sms
cs; nesprávn, chybn, neplatn; kód; e-mail, email; telefon, mobil; uživatelské jméno; nebo, váš,
  vaše, zadejte, číslo, adresa; ověřovací, autentizač; záložní; textov, sms
da; forkert, ugyldig, ikke korrekt; kode; e-mail, email, mail; telefon, mobil; brugernavn; eller,
  din, dit, indtast, adresse, nummer; autentific, godkendelsesapp; backup, sikkerhedskopi; sms,
  tekstbesked
de; falsch, ungültig, nicht korrekt, nicht richtig, abgelaufen; code, pin; e-mail, email, mail;
  telefon, handy, rufnummer, mobil; nutzername, benutzername; oder, und, deine, dein, die, der,
  gib, ein, bitte, adresse, nummer; authentifizierung, authenticator; backup, ersatz, sicherung;
  sms, textnachricht
el; λάθος, λανθασμέν, εσφαλμέν, μη έγκυρ, δεν είναι σωστ; κωδικ; email, e-mail, ηλεκτρονικ;
  τηλέφων, τηλεφών, κινητ; όνομα χρήστη, ονόματος χρήστη; ή, το, του, σας, διεύθυνση, διεύθυνσης,
  αριθμός, αριθμό, ταχυδρομείου; ελέγχου ταυτότητας; εφεδρικ, ασφαλείας; μήνυμα κειμένου, sms
es; incorrect, no es correct, inválid, no válid, no es válid, equivocad, caducad; código, codigo,
  pin; correo, email, e-mail; teléfono, telefono, móvil, celular; nombre de usuario, usuario; o,
  y, tu, su, el, la, de, electrónico, dirección, número, introduce, ingresa, escribe;
  autenticación; respaldo, copia de seguridad, recuperación; mensaje de texto, sms
fa; نادرست, اشتباه, نامعتبر; کد, رمز; ایمیل; تلفن, موبایل; نام کاربری; یا, شماره, خود, آدرس; احراز
  هویت; پشتیبان; پیامک
fi; virheelli, väärä, väärin, ei kelpaa; koodi; sähköposti; puhelin; käyttäjänimi, käyttäjätunnus;
  tai, anna, osoite, numero; todennus; vara; tekstiviesti
fil; mali, hindi tama, hindi wasto; code; email, e-mail; telepono, phone; username; o, ang, iyong,
  address, numero, ng; authenticat; backup; text message, sms
fr; incorrect, faux, fausse, erroné, invalide, non valide, n'est pas valide, expiré; code; e-mail,
  email, mail, courriel; téléphone, telephone, mobile, portable; nom d'utilisateur, nom
  d’utilisateur, identifiant; ou, et, votre, ton, le, la, l, de, du, saisissez, entrez, adresse,
  électronique, numéro; authentification, générateur; secours, sauvegarde; sms, texto
gu; ખોટ, અમાન્ય; કોડ; ઇમેઇલ, ઈમેલ; ફોન; વપરાશકર્તા નામ; અથવા, તમારો, નંબર, સરનામું; પ્રમાણીકરણ;
  બેકઅપ; એસએમએસ
he; שגוי, לא נכון, לא תקין, אינו נכון; קוד; אימייל, דואר אלקטרוני, דוא"ל, מייל; טלפון, נייד; שם
  משתמש, שם המשתמש; או, את, שלך, הזן, כתובת, מספר; אימות; גיבוי; הודעת טקסט, sms
hi; ग़लत, गलत, अमान्य, सही नहीं, समाप्त हो; कोड; ईमेल; फ़ोन, फोन, मोबाइल; उपयोगकर्ता नाम, यूज़रनेम, यूजरनेम;
  या, अपना, अपने, का, पता, नंबर, दर्ज करें; प्रमाणीकरण ऐप; बैकअप; टेक्स्ट मैसेज, एसएमएस
hr; netočn, pogrešn, neispravn, nevažeć; kod, kôd; e-pošt, email, e-mail; telefon, mobitel;
  korisničko ime; ili, vaš, vašu, unesite, adresa, adresu, broj; autentifikac; sigurnosn, pričuvn;
  tekstualn, sms
hu; helytelen, hibás, érvénytelen; kód; e-mail, email; telefon, mobil; felhasználónév; vagy, az,
  a, add, meg, cím, címe, szám, száma; hitelesítő; tartalék, biztonsági; szöveges üzenet, sms
id; salah, tidak valid, tidak benar, kedaluwarsa, kadaluarsa; kode; email, e-mail, surel; telepon,
  ponsel, hp; nama pengguna; atau, anda, kamu, masukkan, alamat, nomor; autentik; cadangan; pesan
  teks, sms
it; errat, non corrett, non è corrett, sbagliat, non valid, non è valid, scadut; codice; email,
  e-mail, mail; telefono, cellulare; nome utente; o, e, il, la, l, tuo, tua, di, inserisci,
  indirizzo, numero; autenticazione; backup, riserva; sms, messaggio di testo
ja; 正しくありません, 間違, 無効, 誤り, 違います, 期限切れ, 期限が切れ; コード, 番号を入力;
  メールアドレス, メール, eメール; 電話番号, 電話, 携帯; ユーザー名, ユーザ名, アカウント名;
  または, もしくは, か, 、, あなたの, を, の, 入力, してください, ください; 認証アプリ,
  コード生成; バックアップ, 予備; テキストメッセージ, ショートメッセージ, sms
kn; ತಪ್ಪ, ಅಮಾನ್ಯ; ಕೋಡ್; ಇಮೇಲ್; ಫೋನ್; ಬಳಕೆದಾರ ಹೆಸರು; ಅಥವಾ, ನಿಮ್ಮ, ಸಂಖ್ಯೆ, ವಿಳಾಸ; ದೃಢೀಕರಣ; ಬ್ಯಾಕಪ್;
  ಎಸ್ಎಂಎಸ್
ko; 올바르지 않, 잘못, 틀렸, 일치하지 않, 유효하지 않, 만료; 코드, 인증번호; 이메일 주소, 이메일,
  메일; 전화번호, 전화 번호, 휴대폰, 전화; 사용자 이름, 사용자 아이디, 아이디; 또는, 나, 을, 를,
  입력, 하세요, 번호, 주소; 인증 앱, 코드 생성; 백업; 문자
mr; चुकीच, अवैध; कोड; ईमेल, ई-मेल; फोन; वापरकर्ता नाव; किंवा, तुमचा, क्रमांक, पत्ता; प्रमाणीकरण
  ॲप; बॅकअप; एसएमएस
ms; salah, tidak sah, tidak betul; kod; e-mel, emel, email; telefon; nama pengguna; atau, anda,
  masukkan, alamat, nombor; pengesah; sandaran; mesej teks, sms
nl; onjuist, onjuiste, verkeerd, ongeldig, niet correct, verlopen; code; e-mail, email, mail;
  telefoon, mobiel; gebruikersnaam; of, en, je, uw, de, het, voer, in, adres, nummer; authenticat,
  verificatie-app; back-up, backup; sms, tekstbericht
no; feil, feilaktig, ugyldig, ikke riktig; kode; e-post, epost; telefon, mobil; brukernavn; eller,
  din, ditt, skriv, inn, adresse, nummer; autentiser, godkjenningsapp; reserve, sikkerhetskopi;
  tekstmelding, sms
pl; nieprawidłow, niepoprawn, błędn, nieważn, wygas; kod; e-mail, email, mail; telefon, komórk;
  nazwa użytkownika, nazwę użytkownika; lub, i, twój, podaj, wpisz, adres, numer;
  uwierzytelniając; zapasow; sms
pt; incorret, errad, inválid, não é válid, não está corret, expirad; código, codigo; e-mail,
  email; telefone, celular, telemóvel; nome de usuário, nome de utilizador, usuário; ou, e, seu,
  sua, o, a, de, do, insira, digite, endereço, número; autenticação; backup, reserva; sms,
  mensagem de texto
ro; incorect, greșit, nevalid, nu este corect; cod; e-mail, email; telefon, mobil; nume de
  utilizator, numele de utilizator; sau, și, introdu, adresa, adresă, de, număr, numărul;
  autentificare; rezervă; mesaj text, sms
ru; неверн, неправильн, недействительн, не подходит, истек, истёк; код; почт, email, e-mail;
  телефон, мобильн; имя пользователя; или, и, ваш, ваша, введите, электронная, электронной, адрес,
  номер, номера; аутентификац, генератор; резервн; sms, смс, текстов
sk; nesprávn, chybn, neplatn; kód; e-mail, email; telefón, mobil; používateľské meno; alebo, váš,
  zadajte, číslo, adresa; overovac; záložn; textov, sms
sr; нетачн, погрешн, неисправн, неважећ; код, кôд; имејл, е-пошт; телефон; корисничко име; или,
  ваш, унесите, адреса, адресу, број; аутентификац; резервн; sms, смс
sv; felaktig, fel, ogiltig, stämmer inte; kod; e-post, epost, mejl; telefon, mobil; användarnamn;
  eller, och, din, ditt, ange, adress, nummer; autentiser; reserv, säkerhetskopi; sms,
  textmeddelande
ta; தவற, செல்லாத; குறியீடு; மின்னஞ்சல்; தொலைபேசி, ஃபோன்; பயனர்பெயர், பயனர் பெயர்; அல்லது, உங்கள்,
  எண், முகவரி; அங்கீகார; காப்பு; எஸ்எம்எஸ்
th; ไม่ถูกต้อง, ผิด, หมดอายุ; รหัส, โค้ด; อีเมล; หมายเลขโทรศัพท์, เบอร์โทร, โทรศัพท์; ชื่อผู้ใช้; หรือ, ของคุณ, ป้อน,
  ที่อยู่, หมายเลข; แอปยืนยัน; สำรอง; ข้อความ, sms
tr; yanlış, hatalı, geçersiz, doğru değil, süresi dol, süresi geç; kod; e-posta, eposta; telefon,
  cep; kullanıcı adı, kullanıcı ad; veya, ya, da, adresi, adresin, numarası, numaran, gir; kimlik
  doğrulama, doğrulama uygulaması; yedek; kısa mesaj, sms
uk; неправильн, невірн, недійсн; код; пошт, email, e-mail; телефон, мобільн; ім'я користувача,
  ім’я користувача; або, і, ваш, введіть, електронна, електронної, адреса, номер; автентифікац;
  резервн; sms, текстов
ur; غلط, درست نہیں; کوڈ; ای میل; فون; صارف نام; یا, اپنا, نمبر, پتہ; توثیق; بیک اپ; ایس ایم ایس
vi; không chính xác, không đúng, sai, không hợp lệ, hết hạn; mã; email, e-mail, thư điện tử; điện
  thoại, di động; tên người dùng, tên đăng nhập; hoặc, của, bạn, nhập, số, địa chỉ; xác thực; dự
  phòng; tin nhắn, sms
zh-CN; 不正确, 错误, 無效, 无效, 不对, 有误, 过期, 失效; 验证码, 代码, 码; 电子邮件地址, 电子邮件,
  电子邮箱, 邮箱, 邮件; 手机号码, 手机号, 电话号码, 手机, 电话; 用户名; 或, 、, 您的, 你的, 请,
  输入, 地址; 验证器, 验证应用, 身份验证; 备用, 备份; 短信
zh-TW; 不正確, 錯誤, 無效, 有誤, 過期, 失效; 驗證碼, 代碼, 碼; 電子郵件地址, 電子郵件, 電子信箱,
  信箱, 郵件; 手機號碼, 電話號碼, 手機, 電話; 使用者名稱, 用戶名稱, 用戶名, 帳號; 或, 、, 您的,
  你的, 請, 輸入, 地址; 驗證應用, 驗證器; 備用, 備份; 簡訊, 短訊
"""


def _row(text: str) -> tuple[str, Words]:
    language, *columns = (part.strip() for part in " ".join(text.split()).split(";"))
    cells = (tuple(word.strip() for word in column.split(",")) for column in columns)
    return language, Words(*cells)


WORDS: Final = dict(map(_row, re.split(r"\n(?=\S)", _TABLE.strip())))
"""Words by language, with the site's own language codes."""

_JOINED: Final = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af、]")
"""Scripts that write words together: Thai, Japanese, Chinese; Korean joins its particles."""


WHOLE_MAX: Final = 4
"""Longest word of `Words.wrong` that must match whole, because other words may begin with it."""


_SAME: Final = str.maketrans({"ı": "i", "\u0307": None, "\u2019": "'"})
"""Turkish letters without their dots, and the typographic apostrophe."""


def _plain(text: str) -> str:
    """Return a text without irrelevant differences: case, width, composition, dots."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_SAME)


def _patterns(*columns: str) -> list[str]:
    """Return the words of these columns in every language as patterns, longest first."""
    cells = {
        (word, each) for row in WORDS.values() for each in columns for word in getattr(row, each)
    }
    patterns = []
    for word, column in sorted(cells, key=lambda cell: len(cell[0]), reverse=True):
        pattern = re.escape(_plain(word))
        if not _JOINED.search(word):
            is_whole = column == "small" or (column == "wrong" and len(word) <= WHOLE_MAX)
            pattern = rf"(?<!\w){pattern}" + (r"(?!\w)" if is_whole else r"\w*")
        patterns.append(pattern)
    return patterns


def _any(*columns: str) -> re.Pattern[str]:
    return re.compile("|".join(_patterns(*columns)))


_CODE, _WRONG, _SMALL = map(_any, ("code", "wrong", "small"))
_NOUN = _any("email", "phone", "name")
_CODE_INSIDE = re.compile(
    "|".join(re.escape(_plain(word)) for row in WORDS.values() for word in row.code)
)
_ERROR_CODE = re.compile(r"\berror code\b")
"""A number of the provider's, which nobody typed."""
_EXPLICIT = re.compile(r"\b(?:address|number|user ?name|handle)\b")
_ASKING = re.compile(r"\b(?:confirm|verify)\b")
_LEAD = re.compile(r"[\W_]*")
_STOP = ".!,;:。！،।۔"
_SENTENCE_END = re.compile(rf"[^\s{_STOP}]*(?:\s*(?:[{_STOP}]|$)|(?<=[\u0e00-\u0e7f])\s)")
"""The rest of a word, and the end of its sentence, which is a space in Thai."""
_SOURCES: Final = (
    ("BACKUP", _any("backup")),
    ("APP", _any("app")),
    ("SMS", _any("text")),
    ("EMAIL", _any("email")),
    ("SMS", _any("phone")),
)
"""Sources with their words; the first match counts, so the most specific come first."""


def _read(text: str) -> str:
    return _plain(fold(text[:TEXT_MAX]))


def refuses(text: str) -> bool:
    """Whether a text refuses the code: its first words say no more, or it names the code too.

    A text about too many wrong codes does not refuse this one, nor does one about a session that
    has expired or a fault of the provider ("something went wrong").
    """
    if asks_to_wait(text) or SESSION_EXPIRED.search(plain(text)):
        return False
    text = _ERROR_CODE.sub(" ", _read(without_problem(text)))
    found = _WRONG.search(text)
    if found is None:
        return False
    lead = _LEAD.match(text)
    assert lead is not None, "it matches nothing, too"
    says_no_more = found.start() == lead.end() and _SENTENCE_END.match(text, found.end())
    return bool(says_no_more) or _CODE.search(text) is not None


def asks_for_address(hint: str) -> bool:
    """Whether a field's hint plainly asks for an address, a phone number or a user name.

    That is the case if the hint has no other words. "Check your email" and "Email code" do not.
    """
    text = _read(hint)
    if _EXPLICIT.search(text):
        text = _ASKING.sub(" ", text)
    left, found = _NOUN.subn(_unless_code, text)
    return found > 0 and not re.search(r"\w", _SMALL.sub(" ", left))


def _unless_code(noun: re.Match[str]) -> str:
    """Return a space for a noun, but a compound with a code ("telefonkod") unchanged."""
    return noun[0] if _CODE_INSIDE.search(noun[0]) and not _JOINED.search(noun[0]) else " "


def source_in(text: str) -> str | None:
    """Return the source of codes that a text names, ``None`` if it names none."""
    text = _read(text)
    return next((source for source, words in _SOURCES if words.search(text)), None)
