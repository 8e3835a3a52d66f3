"""MESSENGER: the texts of its errors, in the languages that a device's locale may name.

Patterns on text in lower case, by language. Most translations are this project's: where the
provider uses another wording, the answer is in doubt and does not end the login.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SECURITY_WORDS: Final[Mapping[str, str]] = {
    "en": (
        r"security check|confirm (?:it'?s you|your (?:identity|account|login))|checkpoint"
        r"|verify your (?:account|email|identity|login|phone)|(?:identity|account) confirmation"
    ),
    "de": r"sicherheits(?:über)?prüfung|sicherheitscheck|identität bestätigen|bestätige,? dass du",
    "fr": r"(?:contrôle|vérification) de sécurité|confirme[zr]? (?:votre|ton) identité",
    "es": r"(?:comprobación|control|verificación) de seguridad|confirm\w+ (?:tu|su) identidad",
    "pt": r"verificação de segurança|confirm\w+ (?:a )?(?:sua )?identidade",
    "it": r"(?:controllo|verifica) di sicurezza|conferma la tua identità",
    "nl": r"(?:beveiligings|veiligheids)controle|bevestig je identiteit",
    "pl": (
        r"(?:kontrol\w+|weryfikacj\w+) (?:bezpieczeństwa"
        r"|zabezpieczeń)|potwierdź (?:swoją )?tożsamość"
    ),
    "sv": r"säkerhetskontroll|bekräfta din identitet",
    "cs": r"bezpečnostní kontrol|potvrďte svou totožnost",
    "ro": r"verificare de securitate|confirmă-ți identitatea",
    "hu": r"biztonsági ellenőrzés|erősítsd meg",
    "el": r"έλεγχο[ςυ]? ασφαλείας|επιβεβαιώστε την ταυτότητ",
    "tr": r"güvenlik kontrolü|kimliğini(?:zi)? (?:doğrula|onayla)",
    "ru": r"проверк\w+ безопасности|подтвердите (?:свою )?личность",
    "uk": r"перевірк\w+ безпеки|підтвердьте (?:свою )?особу",
    "ar": r"(?:فحص|التحقق) (?:أمني|الأمني|من الأمان)|تأكيد هويتك",
    "he": r"בדיקת אבטחה|אימות הזהות",
    "hi": r"सुरक्षा जाँच|सुरक्षा जांच|पहचान की पुष्टि",
    "bn": r"নিরাপত্তা যাচাই",
    "vi": r"kiểm tra bảo mật|xác nhận danh tính|xác minh danh tính",
    "th": r"ตรวจสอบความปลอดภัย|ยืนยันตัวตน",
    "id": r"pemeriksaan keamanan|konfirmasi identitas",
    "ms": r"pemeriksaan keselamatan|sahkan identiti",
    "tl": r"security check|kumpirmahin",
    "zh": r"安全(?:检查|檢查|验证|驗證)|确认(?:你|您)的身份|確認(?:你|您)的身分",
    "ja": r"セキュリティ(?:チェック|確認)|本人確認",
    "ko": r"보안 (?:확인|점검|검사)|본인 확인",
}

BLOCKED_WORDS: Final[Mapping[str, str]] = {
    "en": r"temporarily blocked",
    "de": r"vorübergehend (?:blockiert|gesperrt)",
    "fr": r"temporairement bloqué",
    "es": r"bloquead[oa] temporalmente|temporalmente bloquead[oa]",
    "pt": r"bloquead[oa] temporariamente|temporariamente bloquead[oa]",
    "it": r"temporaneamente bloccat[oa]|bloccat[oa] temporaneamente",
    "nl": r"tijdelijk geblokkeerd",
    "pl": r"tymczasowo zablokowan",
    "sv": r"tillfälligt (?:blockerad|spärrad)",
    "cs": r"dočasně zablokován",
    "ro": r"blocat temporar",
    "hu": r"ideiglenesen (?:letilt|zárol)",
    "el": r"αποκλει\w+ προσωρινά|προσωρινά αποκλε",
    "tr": r"geçici olarak engellen",
    "ru": r"временно заблокирован",
    "uk": r"тимчасово заблоковано",
    "ar": r"حظر\w* مؤقت|مؤقتًا",
    "he": r"נחסמת באופן זמני",
    "hi": r"अस्थायी रूप से (?:ब्लॉक|अवरुद्ध)",
    "bn": r"সাময়িকভাবে (?:ব্লক|অবরুদ্ধ)",
    "vi": r"tạm thời bị chặn|bị chặn tạm thời|bị tạm thời chặn",
    "th": r"ถูกบล็อกชั่วคราว",
    "id": r"diblokir (?:untuk )?sementara",
    "ms": r"disekat (?:untuk )?sementara",
    "tl": r"pansamantalang na-block",
    "zh": r"暂时(?:被)?(?:封锁|禁止|冻结)|暫時(?:被)?(?:封鎖|禁止)",
    "ja": r"一時的にブロック",
    "ko": r"일시적으로 차단",
}

HELD_WORDS: Final[Mapping[str, str]] = {
    "en": r"\baccount\b[^.!?]{0,40}\btemporarily unavailable\b|\bregain access\b",
}
"""The person can have the account back by a login in the provider's app or on its site."""

DISABLED_WORDS: Final[Mapping[str, str]] = {
    "en": (
        r"\b(?:account|profile)\b[^.!?]{0,60}\b(?:disabled|locked|suspended)\b"
        r"|\b(?:disabled|locked|suspended)\b[^.!?]{0,40}\b(?:account|profile)\b"
    ),
    "de": r"konto (?:wurde|ist) (?:deaktiviert|gesperrt)",
    "fr": r"compte (?:a été|est) (?:désactivé|verrouillé|suspendu)",
    "es": (
        r"cuenta (?:ha sido |está |se ha |fue )?"
        r"(?:inhabilitad|deshabilitad|desactivad|bloquead|suspendid)"
    ),
    "pt": r"conta (?:foi|está) (?:desativad|desabilitad|bloquead|suspens)",
    "it": r"account (?:è stato |è )?(?:disabilitat|disattivat|bloccat|sospes)",
    "nl": r"account is (?:uitgeschakeld|vergrendeld)",
    "pl": r"konto zostało (?:wyłączone|zablokowane)",
    "sv": r"konto har (?:inaktiverats|låsts)",
    "tr": r"hesabın(?:ız)? (?:devre dışı|kilitlen)",
    "ru": r"аккаунт (?:отключен|отключён|заблокирован)",
    "uk": r"обліковий запис (?:вимкнено|заблоковано)",
    "ar": r"تم (?:تعطيل|قفل) حسابك",
    "hi": r"(?:अकाउंट|खाता) (?:बंद|अक्षम|लॉक)",
    "vi": r"tài khoản (?:của bạn )?(?:đã )?bị (?:vô hiệu hóa|vô hiệu hoá|khóa|khoá)",
    "th": r"บัญชี(?:ของคุณ)?ถูก(?:ปิด|ล็อก|ระงับ)",
    "id": r"akun anda (?:telah )?(?:dinonaktifkan|dikunci)",
    "zh": r"(?:帐户|账户|帐号|账号|帳號|帳戶)(?:已|被)+(?:停用|锁定|鎖定)",
    "ja": r"アカウントが(?:停止|無効|ロック)",
    "ko": r"계정이 (?:비활성화|잠겼|잠김)",
}

REFUSED_WORDS: Final[Mapping[str, str]] = {
    "en": (
        r"(?<!error )\bcode\b(?!\W*[0-9]).{0,50}"
        r"(?:(?:isn|wasn|doesn|didn)'t (?:valid|correct|right|match|work)"
        r"|(?:is|was) (?:not (?:valid|correct|right)|invalid|incorrect|wrong|expired)"
        r"|does not match"
        r"|(?:has )?expired|already (?:been )?used)"
        r"|(?:wrong|incorrect|invalid|expired) (?:\w+ ){0,2}code\b"
        r"|re-?enter (?:\w+ ){0,3}code"
    ),
    "de": (
        r"code\b.{0,60}(?:ungültig|falsch|nicht korrekt|nicht richtig"
        r"|stimmt nicht|abgelaufen)|(?:falscher|ungültiger) code"
    ),
    "fr": (
        r"code\b.{0,60}(?:incorrect|erroné|invalide"
        r"|n'est pas (?:valide|correct)|ne correspond pas|expiré)"
    ),
    "es": (
        r"código\b.{0,60}(?:incorrecto|no es (?:correcto"
        r"|válido)|inválido|no coincide|caducado|venció)"
    ),
    "pt": r"código\b.{0,60}(?:incorreto|inválido|não (?:é válido|confere|corresponde)|expirou)",
    "it": r"codice\b.{0,60}(?:errato|non (?:è )?(?:valido|corretto|corrisponde)|scaduto)",
    "nl": r"code\b.{0,60}(?:onjuist|ongeldig|klopt niet|verlopen)|(?:onjuiste|ongeldige) code",
    "pl": r"kod\b.{0,60}(?:nieprawidłowy|niepoprawny|nie pasuje|wygasł)|nieprawidłowy kod",
    "sv": r"koden?\b.{0,60}(?:fel|ogiltig|stämmer inte|har gått ut)",
    "cs": r"kód\b.{0,60}(?:nesprávný|neplatný|vypršel)|nesprávný kód",
    "ro": r"codul\b.{0,60}(?:incorect|nu este valid|expirat)",
    "hu": r"kód\b.{0,60}(?:helytelen|érvénytelen|lejárt)|helytelen kód",
    "el": r"κωδικός\b.{0,60}(?:εσφαλμένος|μη έγκυρος|έληξε|λανθασμένος)",
    "tr": r"kod\w*.{0,60}(?:yanlış|hatalı|geçersiz|geçerli değil|eşleşmiyor|süresi)",
    "ru": (
        r"код\b.{0,60}(?:неверн|неправильн|недействит"
        r"|не совпада|истек|истёк)|неверный код|неправильный код"
    ),
    "uk": r"код\b.{0,60}(?:неправильн|недійсн|не збіга|минув)|неправильний код",
    "ar": r"(?:رمز|الرمز|الكود).{0,60}(?:غير صحيح|غير صالح|خطأ|خاطئ|لا يتطابق|انتهت)",
    "he": r"קוד.{0,40}(?:שגוי|לא נכון|אינו תקין|פג)",
    "hi": r"कोड.{0,40}(?:गलत|अमान्य|मान्य नहीं|मेल नहीं)",
    "bn": r"কোড.{0,40}(?:ভুল|সঠিক নয়|মেয়াদ)",
    "vi": r"mã\b.{0,60}(?:không (?:đúng|chính xác|hợp lệ|khớp|trùng)|sai|hết hạn)",
    "th": r"รหัส.{0,60}(?:ไม่ถูกต้อง|ไม่ตรง|หมดอายุ)",
    "id": r"kode\b.{0,60}(?:salah|tidak (?:valid|cocok|benar)|kedaluwarsa)",
    "ms": r"kod\b.{0,60}(?:salah|tidak (?:sah|sepadan))",
    "tl": r"(?:maling|mali ang) (?:\w+ )?code",
    "zh": (
        r"(?:验证码|驗證碼|代码|代碼|登录码|登入碼).{0,20}"
        r"(?:错误|錯誤|不正确|不正確|无效|無效|不符|过期|過期)"
    ),
    "ja": r"コード.{0,20}(?:正しくありません|一致しません|無効|間違|期限)",
    "ko": r"코드.{0,20}(?:올바르지|일치하지|유효하지|잘못|만료)",
}

NEW_PASSWORD_WORDS: Final[Mapping[str, str]] = {
    "en": r"changed (?:their|your|the) password",
}

OLD_APP_WORDS: Final[Mapping[str, str]] = {
    "en": (
        r"update (?:your|the|to the latest version of the) (?:facebook |messenger )?app"
        r"|(?:app|version)"
        r" (?:is )?(?:no longer|not) supported|newer version|outdated"
    ),
    "de": r"aktualisiere (?:deine|die) app|version wird nicht (?:mehr )?unterstützt",
    "fr": r"mett(?:re|ez|s) (?:à jour )?l'application(?: à jour)?|version n'est plus",
    "es": r"actualiza (?:la|tu) aplicación|versión (?:ya )?no (?:es|está)",
    "pt": r"atualize (?:o|seu) aplicativo",
    "vi": r"cập nhật ứng dụng|phiên bản (?:mới|này)",
    "ru": r"обновите приложение",
    "ar": r"تحديث التطبيق",
    "id": r"perbarui aplikasi",
    "zh": r"更新(?:应用|應用)",
}
