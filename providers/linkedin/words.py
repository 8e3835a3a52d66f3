"""LINKEDIN: the texts of its pages, in the provider's languages.

Patterns on text in lower case, by language. Most translations are this project's: where the
provider uses another wording, the answer is in doubt and does not end the login.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RESTRICTED: Final[Mapping[str, str]] = {
    "en": (
        r"(?<!if )(?<!when )(?:(?:your|this) (?:linkedin )?account (?:is|has been|was)"
        r"|access to your (?:linkedin )?account (?:is|has been)) (?:currently |temporarily )?"
        r"restricted|we(?:'| ha)ve (?:temporarily )?restricted your account"
    ),
    "de": r"\bkonto (?:ist|wurde) (?:vorübergehend |zeitweise )?(?:eingeschränkt|gesperrt)",
    "fr": r"votre compte (?:est|a été) (?:temporairement )?(?:restreint|limité|suspendu)",
    "es": r"\bcuenta (?:está|ha sido|se ha) (?:temporalmente )?restringid[ao]",
    "pt": r"\bconta (?:está|foi) (?:temporariamente )?(?:restringida|restrita|limitada)",
    "it": r"\baccount (?:è|è stato) (?:temporaneamente )?(?:limitato|soggetto a restrizioni)",
    "nl": r"\baccount is (?:tijdelijk )?(?:beperkt|geblokkeerd)",
    "sv": r"\bkonto (?:är|har blivit) (?:tillfälligt )?begränsat",
    "da": r"\bkonto er (?:midlertidigt )?begrænset",
    "no": r"\bkonto(?:en)?(?: din)? er (?:midlertidig )?begrenset",
    "pl": r"\bkonto zostało (?:tymczasowo )?ograniczone",
    "cs": r"\búčet (?:je|byl) (?:dočasně )?omezen",
    "ro": r"\bcontul (?:dvs\.?|dumneavoastră|tău) (?:este|a fost) restricționat",
    "tr": r"hesabınız (?:geçici olarak )?(?:kısıtlandı|kısıtlanmıştır)",
    "ru": r"аккаунт (?:временно )?(?:ограничен|заблокирован)|учетная запись ограничена",
    "uk": r"обліковий запис (?:тимчасово )?обмежено",
    "ar": r"تم تقييد حسابك",
    "zh": r"(?:帐户|帐号|账户|账号|帳戶|帳號)(?:已|目前)?(?:被|受到|暂时|暫時)*限制",
    "ja": r"アカウント(?:は|が)?(?:一時的に)?制限されて",
    "ko": r"계정이 (?:일시적으로 )?제한",
    "id": r"akun anda (?:telah )?dibatasi",
    "hi": r"आपका (?:अकाउंट|खाता) (?:अस्थायी रूप से )?प्रतिबंधित",
}

CAPTCHA: Final[Mapping[str, str]] = {
    "en": r"quick security check|verify (?:that )?you'?re (?:a )?human|i'?m not a robot",
    "de": r"sicherheits(?:über)?prüfung|sicherheitscheck",
    "fr": r"vérification de sécurité",
    "es": r"(?:comprobación|verificación|control) de seguridad",
    "pt": r"verificação (?:rápida )?de segurança",
    "it": r"(?:controllo|verifica) di sicurezza",
    "nl": r"(?:beveiligings|veiligheids)controle",
    "sv": r"säkerhetskontroll",
    "da": r"sikkerhedstjek|sikkerhedskontrol",
    "no": r"sikkerhetssjekk|sikkerhetskontroll",
    "pl": r"(?:weryfikacj\w+|kontrol\w+) (?:bezpieczeństwa|zabezpieczeń)",
    "cs": r"bezpečnostní (?:kontrol|ověření)",
    "ro": r"verificare de securitate",
    "tr": r"güvenlik (?:kontrolü|doğrulaması)",
    "ru": r"проверк\w+ безопасности",
    "uk": r"перевірк\w+ безпеки",
    "ar": r"(?:فحص|تحقق) أمني",
    "zh": r"安全(?:检查|檢查|验证|驗證)",
    "ja": r"セキュリティ(?:チェック|検証|確認)",
    "ko": r"보안 (?:확인|인증|검사)",
    "id": r"pemeriksaan keamanan",
    "hi": r"सुरक्षा जाँच|सुरक्षा जांच",
}

APPROVAL: Final[Mapping[str, str]] = {
    "en": (
        r"(?:check|open) (?:your|the) linkedin app"
        r"|notification to your (?:signed[- ]in devices|linkedin app)"
    ),
    "de": r"(?:öffnen|überprüfen|prüfen) sie (?:ihre|die) linkedin[- ]app",
    "fr": r"(?:consultez|ouvrez|vérifiez) (?:votre|l')\s?appli(?:cation)? linkedin",
    "es": r"(?:consulta|revisa|abre|comprueba) (?:tu|la) aplicación de linkedin",
    "pt": r"(?:verifique|confira|abra|consulte) (?:seu|o|a sua) (?:aplicativo|aplicação)",
    "it": r"(?:controlla|apri) (?:la|l')\s?(?:tua )?app(?:licazione)? (?:di )?linkedin",
    "nl": r"(?:controleer|open) (?:uw|je) linkedin[- ]app",
    "pl": r"(?:sprawdź|otwórz) aplikację linkedin",
    "tr": r"linkedin uygulamanızı kontrol",
    "ru": r"(?:откройте|проверьте) приложение linkedin",
    "ar": r"تطبيق linkedin",
    "zh": r"(?:查看|检查|檢查|打开|開啟).{0,4}(?:领英|linkedin).{0,3}(?:应用|應用|app)",
    "ja": r"linkedin\s?アプリを(?:確認|開)",
    "ko": r"linkedin 앱을 (?:확인|열)",
}

PASSWORD: Final[Mapping[str, str]] = {
    "en": r"choose a (?:more secure|new|stronger) password|change your password",
    "de": r"(?:neues|sichereres) passwort",
    "fr": r"(?:nouveau mot de passe|mot de passe plus sûr)",
    "es": r"contraseña (?:nueva|más segura)|nueva contraseña",
    "pt": r"(?:nova senha|senha mais segura|nova palavra-passe)",
    "it": r"(?:nuova password|password più sicura)",
    "nl": r"(?:nieuw|veiliger) wachtwoord",
    "pl": r"(?:nowe|bezpieczniejsze) hasło",
    "tr": r"(?:yeni|daha güvenli) bir şifre",
    "ru": r"нов(?:ый|ого) пароль|более надежный пароль",
    "ar": r"كلمة مرور (?:جديدة|أكثر أمانًا)",
    "zh": r"(?:新密码|新密碼|更安全的密码|更安全的密碼)",
    "ja": r"新しいパスワード|より安全なパスワード",
    "ko": r"새 비밀번호|더 안전한 비밀번호",
}

IDENTITY: Final[Mapping[str, str]] = {
    "en": (
        r"government[- ](?:issued )?(?:id|document)|identity document|photo of your id\b"
        r"|(?:verify|confirm) your identity"
    ),
    "de": r"identität (?:bestätigen|nachweisen|verifizieren)|ausweisdokument",
    "fr": r"(?:vérifi\w+|confirm\w+) votre identité|pièce d'identité",
    "es": r"(?:verifi\w+|confirm\w+) tu identidad|documento de identidad",
    "pt": r"(?:verifi\w+|confirm\w+) (?:a )?sua identidade|documento de identidade",
    "it": r"(?:verific\w+|conferm\w+) la (?:tua )?identità|documento d'identità",
    "nl": r"(?:uw|je) identiteit|identiteitsbewijs",
    "pl": r"(?:potwierdź|zweryfikuj) (?:swoją )?tożsamość|dokument tożsamości",
    "tr": r"kimliğinizi doğrulayın|kimlik belge",
    "ru": r"подтвердите (?:свою )?личность|удостоверени\w+ личности",
    "ar": r"هويتك",
    "zh": r"验证(?:您|你)?的?身份|驗證(?:您|你)?的?身分|身份证件",
    "ja": r"本人確認|身分証明書",
    "ko": r"본인 (?:확인|인증)|신분증",
}

OLD_CLIENT: Final[Mapping[str, str]] = {
    "en": (
        r"browser (?:that's|is|version is) (?:not|no longer) supported"
        r"|unsupported browser|(?:enable|turn on) (?:cookies|javascript)|have cookies enabled"
    ),
    "de": (
        r"browser wird nicht (?:mehr )?unterstützt"
        r"|(?:cookies|javascript) (?:aktivieren|zulassen)"
    ),
    "fr": (
        r"navigateur n'est (?:pas|plus) (?:pris en charge"
        r"|compatible)|activer (?:les cookies|javascript)"
    ),
    "es": (
        r"navegador no (?:es compatible|está admitido)"
        r"|habilit\w+ (?:las )?(?:cookies|javascript)"
    ),
    "pt": (
        r"navegador não (?:é compatível|é suportado)"
        r"|(?:habilit|ativ)\w+ (?:os )?(?:cookies|javascript)"
    ),
}

REFUSED: Final[Mapping[str, str]] = {
    "en": (
        r"(?<!error )\b(?:code|pin)\b(?!\").{0,40}"
        r"(?:(?:isn|wasn|doesn|didn)'t (?:valid|correct|right|match"
        r"|work)|(?:is|was) (?:not (?:valid|correct|right)|invalid|incorrect|wrong|expired)"
        r"|has expired)|not the right code|(?:wrong|incorrect|invalid|expired)"
        r" (?:verification |security )?(?:code|pin)\b"
    ),
    "de": r"(?:code|pin)\b.{0,60}(?:ungültig|nicht gültig|falsch|nicht korrekt|abgelaufen)",
    "fr": r"code\b.{0,60}(?:n'est pas (?:valide|correct)|incorrect|erroné|invalide|expiré)",
    "es": (
        r"código\b.{0,60}(?:no es (?:válido|correcto)"
        r"|incorrecto|inválido|caducado|ha caducado)"
    ),
    "pt": r"código\b.{0,60}(?:não é (?:válido|correto)|incorreto|inválido|expirou|expirado)",
    "it": r"codice\b.{0,60}(?:non è (?:valido|corretto)|errato|non valido|scaduto)",
    "nl": r"code\b.{0,60}(?:niet (?:geldig|juist)|ongeldig|onjuist|verlopen)",
    "sv": r"koden?\b.{0,60}(?:inte giltig|ogiltig|fel|har gått ut)",
    "da": r"koden?\b.{0,60}(?:ikke gyldig|ugyldig|forkert|udløbet)",
    "no": r"koden?\b.{0,60}(?:ikke gyldig|ugyldig|feil|utløpt)",
    "pl": r"kod\b.{0,60}(?:nieprawidłowy|niepoprawny|wygasł)",
    "cs": r"kód\b.{0,60}(?:není platný|neplatný|nesprávný|vypršel)",
    "ro": r"codul\b.{0,60}(?:nu este valid|incorect|expirat)",
    "tr": r"kod\w*.{0,60}(?:geçerli değil|geçersiz|yanlış|süresi (?:doldu|geçti))",
    "ru": r"код\b.{0,60}(?:недействителен|неверн|неправильн|истек)|неверный код",
    "uk": r"код\b.{0,60}(?:недійсний|неправильн|минув)|неправильний код",
    "ar": r"(?:رمز|الرمز).{0,60}(?:غير صحيح|غير صالح|خطأ|انتهت)",
    "zh": r"(?:验证码|驗證碼|代码|代碼).{0,20}(?:无效|無效|不正确|不正確|错误|錯誤|过期|過期)",
    "ja": r"コード.{0,20}(?:無効|正しくありません|間違|期限)",
    "ko": r"코드.{0,20}(?:유효하지|올바르지|잘못|만료)",
    "id": r"kode\b.{0,60}(?:tidak valid|salah|kedaluwarsa)",
    "hi": r"कोड.{0,40}(?:मान्य नहीं|गलत|अमान्य)",
}

SENT: Final[Mapping[str, str]] = {
    "en": (
        r"\bwe(?:'ve| have)? (?:just )?(?:re)?sent\b.{0,40}\bcode\b"
        r"|\bcode\b.{0,30}\b(?:has been|was) (?:re)?sent\b"
    ),
    "de": r"\bcode\b.{0,40}(?:gesendet|geschickt)|(?:gesendet|geschickt).{0,20}\bcode\b",
    "fr": r"envoyé.{0,40}\bcode\b|\bcode\b.{0,40}envoyé",
    "es": r"(?:enviado|enviamos).{0,40}\bcódigo\b|\bcódigo\b.{0,40}enviado",
    "pt": r"(?:enviado|enviamos).{0,40}\bcódigo\b|\bcódigo\b.{0,40}enviado",
    "it": r"inviato.{0,40}\bcodice\b|\bcodice\b.{0,40}inviato",
    "nl": r"\bcode\b.{0,40}(?:verzonden|gestuurd)",
}
"""Notices that a code is on its way; they refuse none."""

AUTHENTICATOR: Final = (
    r"authenticat|authentifi|autentic|authentificat|uwierzytelniając|doğrulayıcı|"
    r"аутентификатор|验证器|驗證器|认证器|認証アプリ|인증 앱|تطبيق المصادقة"
)

TEXT_MESSAGE: Final = (
    r"text message|\bsms\b|\bphone\b|textnachricht|telefon|téléphone|teléfono|telefone|"
    r"телефон|смс|短信|簡訊|手机|手機|電話|문자|رسالة نصية"
)

EMAIL: Final = r"e-?mail|correo|courriel|邮箱|郵件|邮件|メール|이메일|почт|بريد"
