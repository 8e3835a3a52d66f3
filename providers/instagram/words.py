"""INSTAGRAM: the few sentences that only their words distinguish, by language.

They are read last. Status, constants, names of fields and ids of screens are the same in every
language and decide first. The rest are answers with status 400 and dialogs whose sentence alone
shows that they do not refuse the code. They come in the language of ``app.locale`` or of the
account, so the patterns of every language are tried, whatever the context names.

Only the English sentences are quoted in reports. The others are words that a translation must
contain; in a language that is not listed, structure alone decides.
"""

# ruff: noqa: E501, RUF001  a table with long rows, in words of other scripts

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

WORDS_MAX: Final = 1000
"""Limit of characters of a sentence that the patterns see."""

Sentences = tuple[str, str, str, str, str]
"""Patterns, lower case: wait, a problem there, field required, account disabled, new password.
An empty one: the language's sentence is not known well enough to be distinguished from others."""

LANGUAGES: Final[Mapping[str, Sentences]] = {
    "af": (r"wag .{0,30}minute", r"daar was 'n probleem|iets het (?:verkeerd|skeef)",
           r"veld is verpligtend", r"rekening .{0,40}gedeaktiveer", r"stel .{0,40}wagwoord"),
    "ar": (r"انتظ.{0,30}دقائق", r"حدث(?:ت)? (?:خطأ|مشكلة)|حدث خطأ", r"هذا الحقل مطلوب",
           r"تعطيل .{0,20}حساب", r"إعادة تعيين كلمة"),
    "bg": (r"изчака.{0,30}минути", r"възникна (?:проблем|грешка)", r"поле е задължително",
           r"профил.{0,40}деактивиран", r"нулира.{0,40}парола"),
    "bn": (r"মিনিট .{0,20}অপেক্ষা", r"সমস্যা হয়েছে", "", r"অ্যাকাউন্ট.{0,30}নিষ্ক্রিয়", ""),
    "cs": (r"počkej.{0,30}minut", r"došlo k (?:problému|chybě)|něco se pokazilo",
           r"pole je (?:vyžadováno|povinné)|pole musí být vyplněno",
           r"účet .{0,40}(?:deaktivován|zablokován)", r"obnov.{0,40}hesl"),
    "da": (r"vent .{0,30}minutter", r"der opstod et problem|noget gik galt",
           r"felt er påkrævet", r"konto .{0,40}deaktiveret", r"nulstil.{0,40}adgangskode"),
    "de": (r"wart.{0,40}minuten|minuten.{0,40}warte", r"problem mit deiner anfrage|ein (?:unerwarteter )?fehler|schief ?gelaufen",
           r"feld (?:ist erforderlich|wird benötigt|muss ausgefüllt)|zwingend erforderlich",
           r"konto .{0,60}(?:deaktiviert|gesperrt)", r"passwort .{0,40}zurück|setz.{0,40}passwort"),
    "el": (r"περιμέν.{0,30}λεπτά", r"παρουσιάστηκε (?:πρόβλημα|σφάλμα)", r"πεδίο είναι (?:απαραίτητο|υποχρεωτικό)",
           r"λογαριασμ.{0,40}απενεργοποι", r"επαναφέρ.{0,40}κωδικό πρόσβασης"),
    "en": (r"wait a few minutes|try again later|too many requests",
           r"there was a problem with your request|(?:un(?:expected|known) )?error occurred|something went wrong",
           r"this field is required", r"account\b.{0,200}\bdisabled\b.{0,200}\bviolating|account has been disabled",
           r"reset\b.{0,100}\bpassword"),
    "es": (r"(?:espera|aguarda).{0,40}minutos", r"(?:hubo|ocurri|produjo|habido) .{0,20}(?:problema|error)|algo salió mal",
           r"campo es (?:obligatorio|requerido)", r"cuenta .{0,60}(?:inhabilitad|desactivad)",
           r"(?:restablece|cambia).{0,40}contraseña"),
    "et": (r"oodake .{0,30}minut|oota .{0,30}minut", r"esines probleem|midagi läks valesti",
           r"väli on (?:nõutav|kohustuslik)", "", r"lähtesta.{0,40}parool"),
    "fa": (r"دقیقه .{0,20}صبر|صبر .{0,30}دقیقه", r"مشکلی .{0,30}(?:رخ|پیش)|خطایی رخ", r"این فیلد (?:الزامی|لازم)",
           r"حساب .{0,30}غیرفعال", r"بازنشانی .{0,20}(?:رمز|گذرواژه)"),
    "fi": (r"odota .{0,30}minuut", r"(?:tapahtui|ilmeni) .{0,10}(?:ongelma|virhe)|jokin meni pieleen",
           r"kenttä (?:on pakollinen|vaaditaan)", r"tili.{0,40}poistettu käytöstä", r"salasana.{0,40}(?:nolla|palauta)|(?:nollaa|vaihda).{0,40}salasana"),
    "fr": (r"(?:patient|attend|réessay).{0,40}minutes", r"problème avec votre demande|(?:une erreur|un problème) .{0,30}(?:est survenu|s.est produit)",
           r"champ est (?:obligatoire|requis)", r"compte .{0,60}désactivé", r"réinitialis.{0,40}mot de passe"),
    "gu": (r"મિનિટ .{0,20}રાહ", r"સમસ્યા (?:આવી|હતી)", "", "", ""),
    "he": (r"(?:המתן|להמתין|נא להמתין|המתינו|חכה|לחכות).{0,30}דקות", r"אירעה (?:שגיאה|בעיה)|משהו השתבש",
           r"יש להזין תוכן בשדה|שדה (?:זה )?(?:הוא )?(?:נדרש|חובה)", r"חשבון.{0,40}הושבת", r"איפוס .{0,20}סיסמ|לאפס .{0,20}סיסמ"),
    "hi": (r"मिनट .{0,20}(?:इंतज़ार|इंतजार|प्रतीक्षा)|(?:इंतज़ार|प्रतीक्षा).{0,30}मिनट", r"समस्या (?:हुई|थी|आई)|गड़बड़", r"फ़ील्ड आवश्यक|क्षेत्र (?:अनिवार्य|आवश्यक)",
           r"अकाउंट.{0,40}(?:बंद|अक्षम)", r"पासवर्ड .{0,20}रीसेट"),
    "hr": (r"pričeka.{0,30}minut", r"došlo je do (?:problema|pogreške)|nešto nije", r"polje je (?:obavezno|obvezno)",
           r"račun .{0,40}(?:onemogućen|deaktiviran)", r"(?:ponovno postav|resetira).{0,40}lozink"),
    "hu": (r"várj.{0,30}perc", r"(?:probléma|hiba) (?:történt|merült|lépett)|hiba történt", r"mező .{0,20}kötelező|ki kell tölteni|megadása kötelező",
           r"fiók.{0,40}(?:letilt|felfüggeszt)", r"jelsz.{0,40}(?:visszaállít|alaphelyzet|módosít)"),
    "id": (r"(?:tunggu|coba lagi).{0,30}menit", r"(?:ada|terjadi) (?:masalah|kesalahan)", r"bidang ini (?:wajib|diperlukan|tidak boleh kosong)|kolom ini (?:wajib|harus)",
           r"akun .{0,40}dinonaktifkan", r"(?:atur ulang|setel ulang|reset).{0,40}(?:kata sandi|sandi)"),
    "it": (r"(?:attendi|aspetta|riprova).{0,40}minut", r"(?:problema con la tua richiesta|si è verificato un (?:problema|errore))|qualcosa è andato storto",
           r"campo è obbligatorio", r"account .{0,60}disabilitat|account .{0,60}disattivat", r"(?:reimposta|reset).{0,40}password"),
    "ja": (r"(?:数分|しばらく).{0,20}(?:待|時間|してから)", r"(?:問題|エラー)が(?:発生|起き)", r"(?:フィールド|項目)は必須",
           r"アカウント.{0,30}(?:停止|無効)", r"パスワード.{0,20}(?:リセット|再設定)"),
    "kn": (r"ನಿಮಿಷ.{0,20}ನಿರೀಕ್ಷಿಸಿ", "", "", "", ""),
    "ko": (r"(?:몇 분|잠시).{0,20}(?:기다|후)", r"(?:문제|오류)가 (?:발생|있)", r"필수 (?:항목|필드)|필드는 필수",
           r"계정.{0,30}비활성화", r"비밀번호.{0,20}(?:재설정|변경)"),
    "ml": (r"മിനിറ്റ്.{0,20}കാത്തിരിക്കുക", "", "", "", ""),
    "mr": (r"मिनिटे .{0,20}(?:थांबा|प्रतीक्षा)", r"समस्या (?:आली|होती)", "", "", r"पासवर्ड .{0,20}रीसेट"),
    "ms": (r"tunggu .{0,30}minit", r"terdapat masalah|berlaku (?:masalah|ralat)", r"medan ini (?:diperlukan|wajib)",
           r"akaun .{0,40}(?:dilumpuhkan|dinyahdayakan)", r"tetapkan semula.{0,40}kata laluan"),
    "nb": (r"vent .{0,30}minutter", r"(?:oppstod|var) et problem|noe gikk galt", r"felt(?:et)? er påkrevd|feltet må fylles|obligatorisk",
           r"kontoen .{0,40}deaktivert", r"tilbakestill.{0,40}passord"),
    "ne": (r"मिनेट .{0,20}(?:पर्ख|प्रतीक्षा)", "", "", "", r"पासवर्ड .{0,20}रिसेट"),
    "nl": (r"wacht .{0,30}minuten", r"probleem met je (?:aanvraag|verzoek)|er is (?:een probleem|een fout|iets)", r"veld is verplicht",
           r"account .{0,40}uitgeschakeld", r"wachtwoord .{0,40}(?:opnieuw|reset)|(?:reset|herstel).{0,40}wachtwoord"),
    "pa": (r"ਮਿੰਟ .{0,20}(?:ਉਡੀਕ|ਇੰਤਜ਼ਾਰ)", "", "", "", ""),
    "pl": (r"(?:poczekaj|zaczekaj|odczekaj).{0,30}minut|spróbuj .{0,30}minut", r"wystąpił .{0,12}(?:problem|błąd)|coś poszło nie tak",
           r"pole jest wymagane|to pole musi", r"konto .{0,40}wyłączon", r"(?:zresetuj|zmień).{0,40}hasło"),
    "pt": (r"(?:aguarde|espere|aguarda|espera).{0,40}minutos", r"(?:houve|ocorreu) .{0,20}(?:problema|erro)|algo deu errado|algo correu mal",
           r"campo é obrigatório", r"conta .{0,60}desativada", r"redefin.{0,40}senha|repor.{0,40}palavra-passe"),
    "ro": (r"a[șş]tea?pt.{0,30}minute", r"(?:a apărut|a existat) o (?:problemă|eroare)|ceva nu a", r"câmp este (?:obligatoriu|necesar)|acest câmp este",
           r"cont.{0,40}dezactivat", r"resete.{0,40}parol"),
    "ru": (r"(?:подожди|повтори).{0,40}минут", r"(?:возникла проблема|произошла (?:неизвестная )?ошибка|возникла ошибка|что-то пошло не так)",
           r"обязательное поле|поле обязательно", r"аккаунт .{0,60}(?:отключ|заблокир)", r"сброс.{0,40}парол|смени.{0,40}пароль"),
    "si": (r"මිනිත්තු .{0,20}(?:රැඳ|ඉන්න)", "", "", "", ""),
    "sk": (r"počkaj.{0,30}minút", r"vyskytol sa problém|vyskytla sa chyba|niečo sa pokazilo", r"pole je povinné|pole musí byť",
           r"účet .{0,40}(?:deaktivovan|zablokovan|vypnut)", r"(?:obnov|resetuj).{0,40}hesl"),
    "sr": (r"(?:сачека|sačeka).{0,30}(?:минут|minut)", r"дошло је до (?:проблема|грешке)|došlo je do (?:problema|greške)", r"поље (?:је|се) .{0,10}(?:обавезно|мора)|polje je obavezno",
           r"налог .{0,40}онемогућен", r"ресет.{0,40}лозинк"),
    "sv": (r"vänta .{0,30}minuter", r"(?:uppstod|var) (?:ett problem|ett fel|problem)|något gick fel", r"fält(?:et)? (?:måste fyllas|är obligatoriskt|krävs)",
           r"konto .{0,40}inaktiverat", r"återställ.{0,40}lösenord"),
    "sw": (r"subiri .{0,30}dakika", "", "", "", ""),
    "ta": (r"நிமிட.{0,20}காத்திரு", "", "", "", ""),
    "te": (r"నిమిషా.{0,20}వేచి", "", "", "", ""),
    "th": (r"รอ.{0,20}นาที", r"(?:เกิด|มี)ปัญหา|เกิดข้อผิดพลาด", r"จำเป็นต้องกรอก|ช่องนี้จำเป็น", r"บัญชี.{0,40}(?:ปิดใช้งาน|ถูกระงับ)", r"รีเซ็ตรหัสผ่าน"),
    "tl": (r"maghintay .{0,30}minuto", r"(?:nagkaroon|may) ng? ?problema|nagkaproblema", r"kinakailangan ang field", r"na-disable .{0,30}account|account .{0,30}na-disable", r"i-reset .{0,30}password"),
    "tr": (r"dakika .{0,20}bekle|bekle.{0,30}dakika", r"(?:sorun|hata) oluştu|bir (?:sorun|hata)|bir şeyler (?:ters|yanlış)", r"alan (?:zorunlu|gerekli)|bu alan",
           r"hesab.{0,40}(?:devre dışı|kapatıl)", r"şifre.{0,30}(?:sıfırla|yenile)"),
    "uk": (r"зачекай.{0,30}хвилин", r"(?:виникла проблема|сталася помилка|щось пішло не так)", r"поле (?:є )?обов.язков|обов.язкове поле",
           r"обліковий запис .{0,40}(?:вимкн|заблок|деактив)", r"скин.{0,40}пароль"),
    "ur": (r"منٹ .{0,20}انتظار", r"مسئلہ (?:پیش|ہوا)", "", "", r"پاس ?ورڈ .{0,20}(?:ری سیٹ|دوبارہ)"),
    "vi": (r"(?:chờ|đợi).{0,20}phút", r"(?:đã xảy ra|có) (?:sự cố|lỗi)|đã xảy ra lỗi", r"trường này là bắt buộc|bắt buộc phải (?:nhập|điền)", r"tài khoản .{0,40}vô hiệu hóa", r"đặt lại mật khẩu"),
    "zh": (r"(?:稍等|等待|几分钟|幾分鐘).{0,20}(?:再|后|後|重试|重試)", r"(?:出现|出現|发生|發生|有).{0,6}(?:问题|問題|错误|錯誤)|出错|出錯", r"(?:字段|栏位|欄位|必填).{0,6}(?:必填|不能为空|必須|项|項)|必填",
           r"(?:帐户|帐号|账户|账号|帳號).{0,20}(?:停用|禁用|封禁)", r"(?:重置|重设|重設).{0,6}密[码碼]"),
}  # fmt: skip


def _any(position: int) -> re.Pattern[str]:
    return re.compile("|".join(row[position] for row in LANGUAGES.values() if row[position]))


WAIT, PROBLEM, FIELD, DISABLED, NEW_PASSWORD = map(_any, range(5))


def fold(text: str) -> str:
    """Return a provider's sentence as the patterns expect it: lower case, one line, bounded."""
    return " ".join(text[:WORDS_MAX].lower().split()).replace("’", "'")
