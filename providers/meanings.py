"""Meanings of signs in an answer, for the tables of the adapters.

Two kinds of sentences judge no code at any provider, whatever else they say: those that ask to wait
(`asks_to_wait`) and those that report a fault of the provider (`reports_problem`). Their words are
here, by language; English ones are from reports, most others are translations.
"""

# ruff: noqa: RUF001  words of other scripts have letters that look like Latin ones

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from checkpoint_worker.providers.contract import (
    ActionRequiredError,
    MalformedRequestError,
    ProviderBrokenError,
    ProviderFailure,
    SessionMismatchError,
    UnknownStepError,
    UnreadableAnswerError,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a sign: a failure and its sentence for the caller.

    Without a failure it is a refused code.
    """

    failure: type[ProviderFailure] | None
    detail: str = ""

    def error(self) -> ProviderFailure:
        """Return the failure, to be raised."""
        assert self.failure is not None, "a refused code is a verdict"
        return self.failure(self.detail)


WRONG = Meaning(None)
CAPTCHA = Meaning(
    ActionRequiredError, "The provider asks for a captcha, which the person must solve on its site."
)
CONSENT = Meaning(
    ActionRequiredError, "The provider asks the person to agree to its terms on its site."
)
NEW_PASSWORD = Meaning(
    ActionRequiredError, "The provider asks the person to choose a new password on its site."
)
UNKNOWN_STEP = Meaning(
    UnknownStepError,
    "The provider asks for a step that is not known here; the person may finish it on its site.",
)
FORM = Meaning(MalformedRequestError, "The provider refused the request's form.")
TOKEN = Meaning(SessionMismatchError, "The provider does not take the token for this session.")
INTERNAL = Meaning(ProviderBrokenError, "The provider reports an error of its own.")
THROTTLED = Meaning(ProviderBrokenError, "The provider asks to wait before the next try.")
UNREADABLE = Meaning(UnreadableAnswerError, "The provider's answer cannot be read.")
NO_SESSION = Meaning(UnreadableAnswerError, "The provider let the login pass but gave no session.")

TEXT_MAX: Final = 4_000
"""Limit of characters of a text that the patterns see."""

_LIMIT_WORDS: Final[Mapping[str, str]] = {
    "af": r"wag .{0,30}minute",
    "ar": r"انتظ.{0,30}دقائق|محاولات كثيرة|كثيرة جد|العديد من المحاولات",
    "bg": r"изчака.{0,30}минути|твърде много|прекалено много",
    "bn": r"মিনিট .{0,20}অপেক্ষা|অনেকবার|অনেক বেশি",
    "ca": r"massa intents|massa vegades",
    "cs": r"počkej.{0,30}minut|příliš mnoho",
    "da": r"vent .{0,30}minutter|for mange",
    "de": (
        r"wart.{0,40}minuten|minuten.{0,40}warte|zu viele|zu oft|maximale anzahl"
        r"|anzahl .{0,40}überschritten"
    ),
    "el": r"περιμέν.{0,30}λεπτά|πάρα πολλές|υπερβολικ",
    "en": (
        r"wait (?:for )?(?:a|an|some|few|\d+)\b[^.!?]{0,20}"
        r"(?:second|minute|hour|day|while|moment|time)"
        r"|(?:try|come back) again (?:later|tomorrow|after|in (?:a|an|some|few|about|\d+)\b)"
        r"|too (?:many|often)\b|we limit how (?:often|many)|temporarily limited|\brate[- ]limit"
        r"|maximum (?:number|amount) of|maximum (?:\w+ ){0,2}(?:attempts|tries)\b"
        r"|(?:exceeded|reached) (?:the|your) (?:\w+ ){0,4}(?:limit|attempts|tries)\b"
        r"|\b(?:attempts?|limit) (?:limit )?(?:is |was |has been )?(?:exceeded|reached)\b"
        r"|(?:used|spent) (?:up )?all (?:of )?your (?:\w+ )?(?:attempts|tries)"
        r"|no (?:more )?(?:attempts|tries) (?:left|remaining)"
    ),
    "es": (
        r"(?:espera|aguarda).{0,40}minutos|demasiad|número máximo"
        r"|(?:super|exced)\w+ (?:el|tu|su) (?:número|límite)"
    ),
    "et": r"oodake .{0,30}minut|oota .{0,30}minut",
    "fa": r"دقیقه .{0,20}صبر|صبر .{0,30}دقیقه|بیش از حد|بسیار زیاد",
    "fi": r"odota .{0,30}minuut|liian monta",
    "fr": (
        r"(?:patient|attend|réessay).{0,40}minutes|trop de|trop nombreus|nombre maxim"
        r"|(?:dépassé|excédé) (?:le|votre) (?:nombre|limite)"
    ),
    "gu": r"મિનિટ .{0,20}રાહ|ઘણા બધા",
    "he": r"(?:המתן|להמתין|נא להמתין|המתינו|חכה|לחכות).{0,30}דקות|יותר מדי",
    "hi": (
        r"मिनट .{0,20}(?:इंतज़ार|इंतजार|प्रतीक्षा)|(?:इंतज़ार"
        r"|प्रतीक्षा).{0,30}मिनट|बहुत अधिक|बहुत ज़्यादा"
    ),
    "hr": r"pričeka.{0,30}minut|previše",
    "hu": r"várj.{0,30}perc|túl sok",
    "id": r"(?:tunggu|coba lagi).{0,30}menit|terlalu banyak",
    "it": (
        r"(?:attendi|aspetta|riprova).{0,40}minut|troppi|troppe|numero massimo"
        r"|superato il (?:numero|limite)"
    ),
    "ja": (
        r"(?:数分|しばらく).{0,20}(?:待|時間|してから)"
        r"|試行回数|多すぎ|回数.{0,12}(?:超|上限|制限)"
    ),
    "kn": r"ನಿಮಿಷ.{0,20}ನಿರೀಕ್ಷಿಸಿ|ಹಲವಾರು ಪ್ರಯತ್ನ|ಹಲವಾರು ಬಾರಿ",
    "ko": r"(?:몇 분|잠시).{0,20}(?:기다|후)|너무 많|시도 횟수|횟수.{0,8}초과",
    "ml": r"മിനിറ്റ്.{0,20}കാത്തിരിക്കുക",
    "mr": r"मिनिटे .{0,20}(?:थांबा|प्रतीक्षा)|खूप जास्त",
    "ms": r"tunggu .{0,30}minit|terlalu banyak",
    "nb": r"vent .{0,30}minutter|for mange",
    "ne": r"मिनेट .{0,20}(?:पर्ख|प्रतीक्षा)",
    "nl": r"wacht .{0,30}minuten|te veel|te vaak",
    "pa": r"ਮਿੰਟ .{0,20}(?:ਉਡੀਕ|ਇੰਤਜ਼ਾਰ)",
    "pl": r"(?:poczekaj|zaczekaj|odczekaj).{0,30}minut|spróbuj .{0,30}minut|zbyt wiele|za dużo",
    "pt": (
        r"(?:aguarde|espere|aguarda|espera).{0,40}minutos"
        r"|muitas (?:tentativas|vezes)|demasiad|número máximo"
        r"|(?:excedeu|ultrapassou) (?:o|seu) (?:número|limite)"
    ),
    "ro": r"a[șş]tea?pt.{0,30}minute|prea multe",
    "ru": r"(?:подожди|повтори).{0,40}минут|слишком много",
    "si": r"මිනිත්තු .{0,20}(?:රැඳ|ඉන්න)",
    "sk": r"počkaj.{0,30}minút|príliš veľa",
    "sr": r"(?:сачека|sačeka).{0,30}(?:минут|minut)|превише",
    "sv": r"vänta .{0,30}minuter|för många",
    "sw": r"subiri .{0,30}dakika",
    "ta": r"நிமிட.{0,20}காத்திரு|பல முறை",
    "te": r"నిమిషా.{0,20}వేచి",
    "th": r"รอ.{0,20}นาที|มากเกินไป|หลายครั้ง",
    "tl": r"maghintay .{0,30}minuto|masyadong",
    "tr": r"dakika .{0,20}bekle|bekle.{0,30}dakika|çok fazla",
    "uk": r"зачекай.{0,30}хвилин|забагато|занадто багато",
    "ur": r"منٹ .{0,20}انتظار|بہت زیادہ",
    "vi": r"(?:chờ|đợi).{0,20}phút|quá nhiều",
    "zh": (
        r"(?:稍等|等待|几分钟|幾分鐘).{0,20}(?:再|后|後|重试|重試)"
        r"|(?:次数|次數|尝试|嘗試).{0,4}(?:过多|過多)|太多次|过于频繁|過於頻繁"
    ),
}
_LATER_WORDS: Final[Mapping[str, str]] = {
    "ar": r"(?:حاول|المحاولة|إعادة المحاولة).{0,30}لاحق",
    "bg": r"опита\w*.{0,30}по-късно",
    "ca": r"prova\w*.{0,30}més tard",
    "cs": r"(?:zkus|opakuj)\w*.{0,30}později|později.{0,20}zkus",
    "da": r"prøv.{0,30}senere",
    "de": r"versuch\w*.{0,40}später|später .{0,10}(?:erneut|noch ?mal|noch ?einmal|wieder)",
    "el": r"(?:δοκιμάσ|προσπαθήσ)\w*.{0,30}αργότερα",
    "es": r"(?:int[eé]nt|prueb|vuelv)\w*.{0,30}(?:más tarde|mañana)",
    "fa": r"بعد(?:اً|ا|ًا).{0,20}(?:امتحان|تلاش)",
    "fi": r"yritä.{0,30}myöhemmin|myöhemmin uudel",
    "fr": r"(?:essay|tent)\w*.{0,30}(?:plus tard|ultérieurement|demain)",
    "he": r"(?:נסה|נסו|לנסות).{0,20}מאוחר יותר",
    "hi": r"बाद में .{0,20}(?:कोशिश|प्रयास)|(?:कोशिश|प्रयास).{0,20}बाद में",
    "hr": r"pokuša\w*.{0,30}kasnije|kasnije.{0,20}pokuša",
    "hu": r"próbál\w*.{0,30}később|később.{0,20}próbál",
    "id": r"coba.{0,20}nanti",
    "it": r"(?:riprov|prov|ritent)\w*.{0,30}(?:più tardi|domani)",
    "ja": r"(?:後で|後ほど|あとで|時間をおいて).{0,16}(?:試|やり直)",
    "ko": r"나중에 .{0,10}(?:다시|시도)",
    "ms": r"cuba.{0,20}(?:kemudian|sebentar)",
    "nb": r"prøv.{0,30}senere",
    "nl": r"probeer.{0,30}later|later .{0,10}(?:opnieuw|nog)",
    "pl": r"spróbuj.{0,30}później|później.{0,20}spróbuj",
    "pt": r"(?:tent|volt)\w*.{0,30}(?:mais tarde|amanhã)",
    "ro": r"încea?rc\w*.{0,30}mai târziu",
    "ru": r"(?:попробуй|повтори|попыт)\w*.{0,30}(?:позже|позднее)|позже.{0,20}(?:попроб|повтор)",
    "sk": r"skús\w*.{0,30}neskôr|neskôr.{0,20}skús",
    "sr": r"(?:покуша|pokuša)\w*.{0,30}(?:касније|kasnije)",
    "sv": r"försök.{0,30}senare",
    "th": r"ลอง.{0,20}ภายหลัง",
    "tr": r"daha sonra.{0,10}(?:tekrar|yeniden)|(?:tekrar|yeniden).{0,20}daha sonra",
    "uk": r"(?:спробу|повтор)\w*.{0,30}пізніше|пізніше.{0,20}(?:спроб|повтор)",
    "ur": r"بعد میں .{0,20}کوشش",
    "vi": r"thử lại.{0,10}sau",
    "zh": r"(?:稍后|稍後|稍候|晚些|以后|以後).{0,4}(?:再|重试|重試|尝试|嘗試)",
}
"""Patterns on a folded text that asks to try again later; the English ones are `_LIMIT_WORDS`."""

WAIT_WORDS: Final[Mapping[str, str]] = {
    language: "|".join(filter(None, (pattern, _LATER_WORDS.get(language))))
    for language, pattern in _LIMIT_WORDS.items()
}
"""Patterns on a folded text that asks to wait, too many tries among its reasons."""

PROBLEM_WORDS: Final[Mapping[str, str]] = {
    "af": r"daar was 'n probleem|iets het (?:verkeerd|skeef)",
    "ar": r"حدث(?:ت)? (?:خطأ|مشكلة)|حدث خطأ",
    "bg": r"възникна (?:проблем|грешка)",
    "bn": r"সমস্যা হয়েছে",
    "cs": r"došlo k (?:problému|chybě)|něco se pokazilo",
    "da": r"der opstod et problem|noget gik galt",
    "de": (
        r"problem mit (?:deiner|ihrer) anfrage|problem (?:ist )?aufgetreten|es gab ein problem"
        r"|ein (?:unerwarteter )?fehler|schief ?gelaufen|(?:anfrage|vorgang) .{0,20}nicht bearbeit"
    ),
    "el": r"παρουσιάστηκε (?:πρόβλημα|σφάλμα)",
    "en": (
        r"there was an? (?:\w+ ){0,2}(?:problem|error|issue)\b"
        r"(?! with (?:the|your|this) (?:\w+ )?code)"
        r"|error (?:has )?occurred|something (?:went wrong|unexpected happened)"
        r"|(?:could not|couldn't) log you in|(?:could not|couldn't) complete your request"
        r"|your request (?:could not|couldn't) be (?:completed|processed)"
        r"|\b(?:we're|are) (?:having|experiencing) (?:\w+ )?(?:trouble|problem|issue|difficult)"
        r"|unable to (?:process|complete|handle) (?:your|this|the) request"
        r"|(?:unable to|can't|cannot|couldn't|could not) (?:re)?send (?:\w+ ){1,3}code\b"
        r"|(?:unable|can't|cannot|can not|couldn't|could not)\b[^.!?]{0,40}"
        r"\b(?:right now|at this time|at the moment)\b"
        r"|(?:service|system|site|linkedin) (?:is |are )?(?:\w+ )?(?:unavailable|down)\b"
        r"|(?:request|connection|server)\b[^.!?]{0,10}\btimed out\b"
        r"|(?:network|server|system) error\b"
    ),
    "es": (
        r"(?:hubo|ocurri\w*|produjo|producido|habido|tenemos) .{0,20}(?:problema|error)"
        r"|algo salió mal|algo ha (?:salido|ido) mal"
    ),
    "et": r"esines probleem|midagi läks valesti",
    "fa": r"مشکلی .{0,30}(?:رخ|پیش)|خطایی رخ",
    "fi": r"(?:tapahtui|ilmeni) .{0,10}(?:ongelma|virhe)|jokin meni pieleen",
    "fr": (
        r"problème avec votre demande|(?:une erreur"
        r"|un problème) .{0,30}(?:est survenu|s.est produit)"
        r"|rencontr\w+ .{0,20}(?:problème|erreur)"
    ),
    "gu": r"સમસ્યા (?:આવી|હતી)",
    "he": r"אירעה (?:שגיאה|בעיה)|משהו השתבש",
    "hi": r"समस्या (?:हुई|थी|आई)|गड़बड़",
    "hr": r"došlo je do (?:problema|pogreške)|nešto nije",
    "hu": r"(?:probléma|hiba) (?:történt|merült|lépett)|hiba történt",
    "id": r"(?:ada|terjadi) (?:masalah|kesalahan)",
    "it": (
        r"(?:problema con la tua richiesta|si è verificato un (?:problema"
        r"|errore))|qualcosa è andato storto"
    ),
    "ja": r"(?:問題|エラー)が(?:発生|起き)",
    "ko": r"(?:문제|오류)가 (?:발생|있)",
    "mr": r"समस्या (?:आली|होती)",
    "ms": r"terdapat masalah|berlaku (?:masalah|ralat)",
    "nb": r"(?:oppstod|var) et problem|noe gikk galt",
    "nl": r"probleem met je (?:aanvraag|verzoek)|er is (?:een probleem|een fout|iets)",
    "pl": r"wystąpił .{0,12}(?:problem|błąd)|coś poszło nie tak",
    "pt": (
        r"(?:houve|ocorreu|tivemos|temos) .{0,20}(?:problema|erro)|algo deu errado|algo correu mal"
    ),
    "ro": r"(?:a apărut|a existat) o (?:problemă|eroare)|ceva nu a",
    "ru": (
        r"(?:возникла проблема|произошла (?:неизвестная )?ошибка"
        r"|возникла ошибка|что-то пошло не так)"
    ),
    "sk": r"vyskytol sa problém|vyskytla sa chyba|niečo sa pokazilo",
    "sr": r"дошло је до (?:проблема|грешке)|došlo je do (?:problema|greške)",
    "sv": r"(?:uppstod|var) (?:ett problem|ett fel|problem)|något gick fel",
    "th": r"(?:เกิด|มี)ปัญหา|เกิดข้อผิดพลาด",
    "tl": r"(?:nagkaroon|may) ng? ?problema|nagkaproblema",
    "tr": r"(?:sorun|hata) oluştu|bir (?:sorun|hata)|bir şeyler (?:ters|yanlış)",
    "uk": r"(?:виникла проблема|сталася помилка|щось пішло не так)",
    "ur": r"مسئلہ (?:پیش|ہوا)",
    "vi": r"(?:đã xảy ra|có) (?:sự cố|lỗi)|đã xảy ra lỗi",
    "zh": r"(?:出现|出現|发生|發生).{0,6}(?:问题|問題|错误|錯誤)|出错|出錯",
}
"""Patterns on a folded text that reports a fault of the provider."""

EXPIRED_WORDS: Final[Mapping[str, str]] = {
    "en": (
        r"(?:session|challenge|(?:sign|log)[- ]?in (?:attempt|request)) (?:has |is |was )?"
        r"(?:expired|timed out|ended)"
    ),
    "de": r"sitzung (?:ist )?abgelaufen",
    "fr": r"session (?:a )?expiré",
    "es": r"sesión (?:ha )?(?:caducado|expirado)|sesión caducó",
    "pt": r"sessão (?:expirou|expirada)",
    "it": r"sessione (?:è )?scaduta",
    "nl": r"sessie is verlopen",
    "pl": r"sesja wygasła",
    "tr": r"oturum(?:un|unuz)?(?:un)? süresi (?:doldu|geçti)",
    "ru": r"(?:сессия|сеанс) (?:истек|истёк|истекла)|(?:срок действия|время) сеанса",
    "ar": r"انتهت (?:صلاحية )?(?:الجلسة|جلسة|جلستك)",
    "hi": r"सत्र (?:समाप्त|की समय)",
    "vi": r"phiên (?:đăng nhập |làm việc )?(?:của bạn )?(?:đã )?hết hạn",
    "th": r"เซสชัน\w*หมดอายุ",
    "id": r"sesi (?:anda )?(?:telah )?(?:berakhir|kedaluwarsa|habis)",
    "zh": r"(?:会话|會話|工作階段|登录|登入).{0,4}(?:过期|過期|失效|超时|逾時)",
    "ja": r"セッション.{0,8}(?:切れ|期限)",
    "ko": r"세션.{0,4}만료",
}
"""Patterns on a folded text that says that the login's session is over."""

ASKS_TO_WAIT: Final = re.compile("|".join(WAIT_WORDS.values()))
REPORTS_PROBLEM: Final = re.compile("|".join(PROBLEM_WORDS.values()))
SESSION_EXPIRED: Final = re.compile("|".join(EXPIRED_WORDS.values()))


def plain(text: str) -> str:
    """Return a provider's text as patterns expect it: lower case, one line, bounded."""
    return " ".join(text[:TEXT_MAX].lower().split()).replace("\u2019", "'")


def asks_to_wait(text: str) -> bool:
    """Whether a text asks to wait before the next try, in any of the languages."""
    return ASKS_TO_WAIT.search(plain(text)) is not None


def reports_problem(text: str) -> bool:
    """Whether a text reports a fault of the provider, in any of the languages."""
    return REPORTS_PROBLEM.search(plain(text)) is not None


def without_problem(text: str) -> str:
    """Return a folded text without the words that report a fault ("something went *wrong*")."""
    return REPORTS_PROBLEM.sub(" ", plain(text))
