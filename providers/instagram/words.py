"""INSTAGRAM: the few sentences that only their words distinguish, by language.

They are read last, with those that judge no code at any provider (`providers.meanings`). Status,
constants, names of fields and ids of screens are the same in every language and decide first. The
rest are answers with status 400 and dialogs whose sentence alone shows that they do not refuse the
code. They come in the language of ``app.locale`` or of the
account, so the patterns of every language are tried, whatever the context names.

Only the English sentences are quoted in reports. The others are words that a translation must
contain; in a language that is not listed, structure alone decides.
"""

# ruff: noqa: E501, RUF001  a table with long rows, in words of other scripts

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

Sentences = tuple[str, str, str]
"""Patterns, lower case: field required, account disabled, new password.
An empty one: the language's sentence is not known well enough to be distinguished from others."""

LANGUAGES: Final[Mapping[str, Sentences]] = {
    "af": (r"veld is verpligtend",
           r"rekening .{0,40}gedeaktiveer", r"stel .{0,40}wagwoord"),
    "ar": (r"هذا الحقل مطلوب",
           r"تعطيل .{0,20}حساب", r"إعادة تعيين كلمة"),
    "bg": (r"поле е задължително",
           r"профил.{0,40}деактивиран", r"нулира.{0,40}парола"),
    "bn": ("",
           r"অ্যাকাউন্ট.{0,30}নিষ্ক্রিয়", ""),
    "cs": (r"pole je (?:vyžadováno|povinné)|pole musí být vyplněno",
           r"účet .{0,40}(?:deaktivován|zablokován)", r"obnov.{0,40}hesl"),
    "da": (r"felt er påkrævet",
           r"konto .{0,40}deaktiveret", r"nulstil.{0,40}adgangskode"),
    "de": (r"feld (?:ist erforderlich|wird benötigt|muss ausgefüllt)|zwingend erforderlich",
           r"konto .{0,60}(?:deaktiviert|gesperrt)", r"passwort .{0,40}zurück|setz.{0,40}passwort"),
    "el": (r"πεδίο είναι (?:απαραίτητο|υποχρεωτικό)",
           r"λογαριασμ.{0,40}απενεργοποι", r"επαναφέρ.{0,40}κωδικό πρόσβασης"),
    "en": (r"this field is required",
           r"account\b.{0,200}\bdisabled\b.{0,200}\bviolating|account (?:is|was|has been) (?:temporarily )?(?:disabled|suspended|locked)", r"reset\b.{0,100}\bpassword"),
    "es": (r"campo es (?:obligatorio|requerido)",
           r"cuenta .{0,60}(?:inhabilitad|desactivad)", r"(?:restablece|cambia).{0,40}contraseña"),
    "et": (r"väli on (?:nõutav|kohustuslik)",
           "", r"lähtesta.{0,40}parool"),
    "fa": (r"این فیلد (?:الزامی|لازم)",
           r"حساب .{0,30}غیرفعال", r"بازنشانی .{0,20}(?:رمز|گذرواژه)"),
    "fi": (r"kenttä (?:on pakollinen|vaaditaan)",
           r"tili.{0,40}poistettu käytöstä", r"salasana.{0,40}(?:nolla|palauta)|(?:nollaa|vaihda).{0,40}salasana"),
    "fr": (r"champ est (?:obligatoire|requis)",
           r"compte .{0,60}désactivé", r"réinitialis.{0,40}mot de passe"),
    "he": (r"יש להזין תוכן בשדה|שדה (?:זה )?(?:הוא )?(?:נדרש|חובה)",
           r"חשבון.{0,40}הושבת", r"איפוס .{0,20}סיסמ|לאפס .{0,20}סיסמ"),
    "hi": (r"फ़ील्ड आवश्यक|क्षेत्र (?:अनिवार्य|आवश्यक)",
           r"अकाउंट.{0,40}(?:बंद|अक्षम)", r"पासवर्ड .{0,20}रीसेट"),
    "hr": (r"polje je (?:obavezno|obvezno)",
           r"račun .{0,40}(?:onemogućen|deaktiviran)", r"(?:ponovno postav|resetira).{0,40}lozink"),
    "hu": (r"mező .{0,20}kötelező|ki kell tölteni|megadása kötelező",
           r"fiók.{0,40}(?:letilt|felfüggeszt)", r"jelsz.{0,40}(?:visszaállít|alaphelyzet|módosít)"),
    "id": (r"bidang ini (?:wajib|diperlukan|tidak boleh kosong)|kolom ini (?:wajib|harus)",
           r"akun .{0,40}dinonaktifkan", r"(?:atur ulang|setel ulang|reset).{0,40}(?:kata sandi|sandi)"),
    "it": (r"campo è obbligatorio",
           r"account .{0,60}disabilitat|account .{0,60}disattivat", r"(?:reimposta|reset).{0,40}password"),
    "ja": (r"(?:フィールド|項目)は必須",
           r"アカウント.{0,30}(?:停止|無効)", r"パスワード.{0,20}(?:リセット|再設定)"),
    "ko": (r"필수 (?:항목|필드)|필드는 필수",
           r"계정.{0,30}비활성화", r"비밀번호.{0,20}(?:재설정|변경)"),
    "mr": ("",
           "", r"पासवर्ड .{0,20}रीसेट"),
    "ms": (r"medan ini (?:diperlukan|wajib)",
           r"akaun .{0,40}(?:dilumpuhkan|dinyahdayakan)", r"tetapkan semula.{0,40}kata laluan"),
    "nb": (r"felt(?:et)? er påkrevd|feltet må fylles|obligatorisk",
           r"kontoen .{0,40}deaktivert", r"tilbakestill.{0,40}passord"),
    "ne": ("",
           "", r"पासवर्ड .{0,20}रिसेट"),
    "nl": (r"veld is verplicht",
           r"account .{0,40}uitgeschakeld", r"wachtwoord .{0,40}(?:opnieuw|reset)|(?:reset|herstel).{0,40}wachtwoord"),
    "pl": (r"pole jest wymagane|to pole musi",
           r"konto .{0,40}wyłączon", r"(?:zresetuj|zmień).{0,40}hasło"),
    "pt": (r"campo é obrigatório",
           r"conta .{0,60}desativada", r"redefin.{0,40}senha|repor.{0,40}palavra-passe"),
    "ro": (r"câmp este (?:obligatoriu|necesar)|acest câmp este",
           r"cont.{0,40}dezactivat", r"resete.{0,40}parol"),
    "ru": (r"обязательное поле|поле обязательно",
           r"аккаунт .{0,60}(?:отключ|заблокир)", r"сброс.{0,40}парол|смени.{0,40}пароль"),
    "sk": (r"pole je povinné|pole musí byť",
           r"účet .{0,40}(?:deaktivovan|zablokovan|vypnut)", r"(?:obnov|resetuj).{0,40}hesl"),
    "sr": (r"поље (?:је|се) .{0,10}(?:обавезно|мора)|polje je obavezno",
           r"налог .{0,40}онемогућен", r"ресет.{0,40}лозинк"),
    "sv": (r"fält(?:et)? (?:måste fyllas|är obligatoriskt|krävs)",
           r"konto .{0,40}inaktiverat", r"återställ.{0,40}lösenord"),
    "th": (r"จำเป็นต้องกรอก|ช่องนี้จำเป็น",
           r"บัญชี.{0,40}(?:ปิดใช้งาน|ถูกระงับ)", r"รีเซ็ตรหัสผ่าน"),
    "tl": (r"kinakailangan ang field",
           r"na-disable .{0,30}account|account .{0,30}na-disable", r"i-reset .{0,30}password"),
    "tr": (r"alan (?:zorunlu|gerekli)|bu alan",
           r"hesab.{0,40}(?:devre dışı|kapatıl)", r"şifre.{0,30}(?:sıfırla|yenile)"),
    "uk": (r"поле (?:є )?обов.язков|обов.язкове поле",
           r"обліковий запис .{0,40}(?:вимкн|заблок|деактив)", r"скин.{0,40}пароль"),
    "ur": ("",
           "", r"پاس ?ورڈ .{0,20}(?:ری سیٹ|دوبارہ)"),
    "vi": (r"trường này là bắt buộc|bắt buộc phải (?:nhập|điền)",
           r"tài khoản .{0,40}vô hiệu hóa", r"đặt lại mật khẩu"),
    "zh": (r"(?:字段|栏位|欄位|必填).{0,6}(?:必填|不能为空|必須|项|項)|必填",
           r"(?:帐户|帐号|账户|账号|帳號).{0,20}(?:停用|禁用|封禁)", r"(?:重置|重设|重設).{0,6}密[码碼]"),
}  # fmt: skip


def _any(position: int) -> re.Pattern[str]:
    return re.compile("|".join(row[position] for row in LANGUAGES.values() if row[position]))


FIELD, DISABLED, NEW_PASSWORD = map(_any, range(3))
