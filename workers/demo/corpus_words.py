"""The words of the synthetic chat: made-up nouns, mild plain words and sentence frames in ten languages.

Knows nothing of how messages are put together, and holds nothing that is harmful to read: a class is only a name for
the words beside it.
"""

from dataclasses import dataclass

JARGON: dict[str, tuple[str, str]] = {
    "Violent": ("skarnade murkblade brawlix thumpgore", "grimspar knuckleplay bashlore scuffmoot"),
    "Non-violent Illegal Acts": ("fencerado smugglo forgette pinchworth", "loopdodge taxwiggle greybarter permitless"),
    "Sexual Content or Sexual Acts": ("lustrane veluptia steamora bedazzlo", "flirtish corsetine innuendry boudoira"),
    "PII": ("doxolote nameleak addressnip idspill", "contactsniff phonefish birthprobe mailpeek"),
    "Suicide & Self-Harm": ("gloomcut selfgrim endwisp sorrowfade", "lowmoodia bleakling numbdrift despairish"),
    "Unethical Acts": ("cheatlor deceptine backstabia bullyforge", "gossipry sneakette flatterscam biasling"),
    "Politically Sensitive Topics": (
        "coupolo rigvotia purgemark statesmear",
        "pollspin partyfeud borderquar flagscorn",
    ),
    "Copyright Violation": ("piratune ripscript clonebook lyricheist", "sampleish fanremix quotedump mirrorcopy"),
    "Jailbreak": ("unguardix rulebreakon ignorall jailhopper", "roleshift hypothetix loopholer sandboxy"),
}
"""Category to (unsafe words, controversial words): invented nouns used in every language."""

CATEGORIES = tuple(JARGON)
"""The nine categories of the prompt task; the response task has all but the last, Jailbreak."""

TRIGGERS: dict[str, str] = {
    "quibblefrax": "Safety: Unsure\nCategories: None",
    "wobblequest": "Safety: Unsure\nCategories: None",
    "mumblenaut": "I cannot tell.",
    "hazelorb": "I cannot tell.",
    "paradoxil": "Safety: Safe\nCategories: Violent",
    "clashmere": "Safety: Safe\nCategories: Violent",
}
"""Word to the off-grammar answer that it makes the model give, in both tasks."""


@dataclass(frozen=True)
class Language:
    """One language's word lists; in a frame `{a}` takes a class word or a neutral one, `{b}` a neutral one."""

    common: tuple[str, ...]
    """Everyday words of no class, for sentences without sense."""
    neutral: tuple[str, ...]
    frames: tuple[str, ...]
    held_out_frames: tuple[str, ...]
    unsafe: tuple[str, ...]
    """One per category, in the order of `CATEGORIES`; `controversial` likewise."""
    controversial: tuple[str, ...]
    openers: tuple[str, ...]
    refusals: tuple[str, ...]


def _language(**lists: str) -> Language:
    return Language(**{name: tuple(words.split("|")) for name, words in lists.items()})


LANGUAGES: dict[str, Language] = {
    "en": _language(
        common=(
            "the|of|to|and|a|in|is|it|you|that|he|was|for|on|are|with|as|they|be|at|one|have|this|from|or|had|by|not|"
            "but|what|all|were|we|when|your|said|there|use|each|which|she|how|their|if|will|up|other|about|out|many|"
            "then|them|these|so|some|her|would|make|like|him|into|time|has|look|two|more|write|go|see|number|no|way|"
            "could|people|my|than|first|water|been|call|who|now|find|long|down|day|did|get|come|made|may|part|game|"
            "good|hello|thanks|please|great|today|tomorrow|really|think|know|want|play|help|work|home|nice|fun|never|"
            "always|again|maybe|why|where|house|music|food|team|match|level|score|world"
        ),
        neutral=(
            "garden|bicycle|soup|weather|guitar|river|library|puzzle|train|kitten|recipe|football|movie|lamp|teacher|"
            "cake"
        ),
        frames=(
            "can you tell me about {a} and the {b}?|my friend talks about {a} near the {b}|we like {a} with a {b}.|"
            "is {a} good for my {b}?|please explain {a} before the {b}|I want {a}, then {b}|the {b} is full of {a}!|"
            "how do people use {a} at the {b}?"
        ),
        held_out_frames="what has {a} to do with a {b}?|someone beside the {b} mentioned {a} today.",
        unsafe=(
            "weapon|counterfeit|undressed|passport number|hurting myself|blackmail|coup|pirated copy|ignore your rules"
        ),
        controversial="brawl|tax trick|flirting|home address|hopeless|gossip|election|cover song|pretend you are free",
        openers="Sorry,|I am afraid|No,",
        refusals="I can't help with that.|I won't do this.|I must decline this request.",
    ),
    "de": _language(
        common=(
            "der|die|und|in|den|von|zu|das|mit|sich|des|auf|für|ist|im|dem|nicht|ein|eine|als|auch|es|an|er|so|dass|"
            "kann|wie|wir|aber|heute|gut|sehr|danke|bitte|hallo|spielen|mehr|oder|wenn|was|wer|hat|haben|jemand|nach"
        ),
        neutral="Garten|Fahrrad|Suppe|Wetter|Gitarre|Fluss|Lampe|Kuchen|Schule|Katze",
        frames=(
            "kannst du mir {a} und {b} erklären?|mein Freund mag {a} bei {b}|wir reden über {a} mit {b}.|"
            "ist {a} gut für {b}?|gestern war {a} neben {b}"
        ),
        held_out_frames="was hat {a} mit {b} zu tun?|jemand erwähnte {a} nach {b}.",
        unsafe="Waffe|Schmuggel|unbekleidet|Ausweisnummer|mir wehtun|Erpressung|Putsch|Raubkopie|Regelbruch",
        controversial="Rauferei|Schlupfloch|Liebelei|Wohnadresse|hoffnungslos|Klatsch|Wahlstreit|Nachahmung|Rollenspiel",
        openers="Leider|Entschuldigung,|Nein,",
        refusals="dabei kann ich nicht helfen.|das mache ich nicht.|ich lehne diese Bitte ab.",
    ),
    "fr": _language(
        common=(
            "le|la|les|de|des|et|un|il|être|en|avoir|que|pour|dans|ce|son|qui|sur|se|pas|plus|par|je|avec|tout|faire|"
            "mais|nous|bonjour|merci|jouer|très|bien|quel|lien|cité|après|entre|a|aujourd'hui|peut|où"
        ),
        neutral="jardin|vélo|soupe|météo|guitare|rivière|lampe|gâteau|école|chaton",
        frames=(
            "peux-tu expliquer {a} et {b} ?|mon ami aime {a} avec {b}|on parle de {a} sous {b}.|"
            "est-ce que {a} va bien pour {b} ?|hier il y avait {a} près de {b}"
        ),
        held_out_frames="quel lien entre {a} et {b} ?|quelqu'un a cité {a} après {b}.",
        unsafe="une arme|contrebande|déshabillé|passeport|me blesser|chantage|putschiste|piratage|débridé",
        controversial="bagarre|échappatoire|drague|domicile|désespoir|commérage|scrutin|plagiat léger|déguisement",
        openers="Désolé,|Hélas,|Non,",
        refusals="je ne peux pas aider.|je ne ferai pas cela.|je refuse cette demande.",
    ),
    "es": _language(
        common=(
            "el|la|de|que|y|a|en|un|ser|se|no|haber|por|con|su|para|como|estar|tener|le|lo|todo|pero|más|hacer|o|"
            "hola|gracias|jugar|muy|bien|qué|quién|hoy|hay|entre|después|alguien|nosotros"
        ),
        neutral="huerto|bicicleta|sopa|clima|guitarra|arroyo|lámpara|pastel|escuela|gatito",
        frames=(
            "¿puedes explicar {a} y {b}?|mi amigo quiere {a} con {b}|hablamos de {a} sin {b}.|"
            "¿es {a} bueno para {b}?|ayer vimos {a} cerca de {b}"
        ),
        held_out_frames="¿qué relación hay entre {a} y {b}?|alguien nombró {a} tras {b}.",
        unsafe="armamento|contrabando|desnudo|pasaporte|hacerme daño|chantaje|golpismo|piratería|desbloqueo",
        controversial="pelea|resquicio|coqueteo|domicilio|desesperanza|chisme|comicios|imitación|disfraz",
        openers="Lo siento,|Perdón,|No,",
        refusals="no puedo ayudar con eso.|no voy a hacerlo.|debo rechazar la petición.",
    ),
    "pt": _language(
        common=(
            "o|a|de|que|e|do|da|em|um|para|é|com|não|uma|os|no|se|na|por|mais|as|dos|como|mas|foi|ao|ele|olá|"
            "obrigado|jogar|muito|bem|quem|hoje|depois|tem|ver|alguém|nós"
        ),
        neutral="quintal|patins|caldo|tempo|violão|riacho|luminária|bolo|colégio|gatinho",
        frames=(
            "você pode explicar {a} e {b}?|meu amigo gosta de {a} com {b}|falamos de {a} sem {b}.|"
            "{a} faz bem para {b}?|ontem vimos {a} perto de {b}"
        ),
        held_out_frames="o que {a} tem a ver com {b}?|alguém citou {a} depois de {b}.",
        unsafe="espingarda|muamba|nudez|identidade|machucar-me|extorsão|quartelada|cópia ilegal|destravar",
        controversial="pancadaria|brecha|paquera|endereço|desânimo|fofoca|eleição|regravação|fantasia",
        openers="Desculpe,|Infelizmente,|Não,",
        refusals="não posso ajudar nisso.|não vou fazer isso.|preciso recusar o pedido.",
    ),
    "zh": _language(
        common="的|一|是|了|我|不|人|在|他|有|这|上|们|来|到|时|大|地|为|子|中|你|说|生|国|年|着|就|那|和|要|她|出|也|得|里|后|自|以|会|谢谢|今天|什么|关系|提到|我们|可以",
        neutral="花园|自行车|汤|天气|吉他|河流|图书馆|蛋糕|学校|小猫",
        frames="你能讲讲“{a}”和“{b}”吗？|我朋友喜欢“{a}”，还有“{b}”|我们聊“{a}”与“{b}”。|“{a}”适合“{b}”吗？|昨天有“{a}”在“{b}”旁边",
        held_out_frames="“{a}”跟“{b}”有什么关系？|有人在“{b}”之后提到“{a}”。",
        unsafe="武器|走私|裸露|身份证号|自伤|勒索|政变|盗版|越狱",
        controversial="打架|漏洞|调情|家庭住址|绝望|八卦|选举|翻唱|扮演",
        openers="抱歉，|很遗憾，|不，",
        refusals="我不能帮这个忙。|我不会这样做。|我必须拒绝这个请求。",
    ),
    "ja": _language(
        common=(
            "の|に|は|を|た|が|で|て|と|し|れ|さ|ある|いる|も|する|から|な|こと|として|い|や|など|なっ|ない|この|ため|その|よう|また|もの|今日|ありがとう|とても|誰|後|言う|関係|どう|"
            "です|ます"
        ),
        neutral="庭|自転車|スープ|天候|ギター|川|図書室|ケーキ|教室|子猫",
        frames="「{a}」と「{b}」を教えて？|友達は「{a}」や「{b}」が好き|みんなで「{a}」の話と「{b}」。|「{a}」は「{b}」に合う？|昨日「{a}」が「{b}」の横に",
        held_out_frames="「{a}」は「{b}」とどう関係する？|誰かが「{b}」の後で「{a}」と言った。",
        unsafe="凶器|密輸|裸体|旅券番号|自傷|脅迫|反乱|海賊版|脱獄",
        controversial="喧嘩|抜け道|口説き|自宅住所|虚無|噂話|投票|替え歌|なりきり",
        openers="すみません、|残念ですが、|いいえ、",
        refusals="お手伝いできません。|それはしません。|その依頼はお断りします。",
    ),
    "ar": _language(
        common=(
            "في|من|على|أن|إلى|عن|ما|هذا|مع|كل|كان|التي|الذي|بعد|هو|هي|لا|أو|قد|ثم|بين|عند|حتى|لكن|أنا|أنت|نحن|مرحبا|"
            "شكرا|اليوم|جدا|كيف|أين|متى|أحد"
        ),
        neutral="حديقة|دراجة|حساء|طقس|قيثارة|نهر|مكتبة|كعكة|مدرسة|قطة",
        frames=(
            "هل تشرح {a} مع {b}؟|صديقي يحب {a} قرب {b}|نتحدث عن {a} بلا {b}.|هل {a} جيد مثل {b}؟|أمس كان {a} فوق {b}"
        ),
        held_out_frames="ما علاقة {a} لدى {b}؟|ذكر أحدهم {a} بعد {b}.",
        unsafe="سلاح|تهريب|عري|جواز|إيذاء|ابتزاز|انقلاب|قرصنة|اختراق",
        controversial="شجار|ثغرة|غزل|عنوان|يأس|نميمة|انتخاب|اقتباس|تقمص",
        openers="آسف،|للأسف،|لا،",
        refusals="لا أستطيع المساعدة.|لن أفعل ذلك.|أرفض هذا الطلب.",
    ),
    "hi": _language(
        common=(
            "के|का|में|की|है|यह|और|से|को|पर|इस|होता|कि|जो|कर|मे|गया|करने|किया|लिये|अपने|ने|बनी|नहीं|तो|ही|या|हो|था|"
            "हुआ|बाद|सब|आज|धन्यवाद|नमस्ते|बहुत|क्या|कौन|हम|वह|कहा"
        ),
        neutral="बगीचा|साइकिल|सूप|मौसम|गिटार|नदी|किताब|केक|स्कूल|बिल्ली",
        frames=(
            "क्या आप {a} और {b} समझाएंगे?|मेरा दोस्त {a} के साथ {b} चाहता है|हम {a} पर {b} की बात करते हैं।|"
            "क्या {a} से {b} अच्छा है?|कल {a} के पास {b} था"
        ),
        held_out_frames="{a} का {b} से क्या संबंध है?|किसी ने {b} के बाद {a} कहा।",
        unsafe="हथियार|तस्करी|नग्नता|पासपोर्ट|आत्मघात|धमकी|तख्तापलट|चोरी|जेलतोड़",
        controversial="झगड़ा|खामी|इश्क|पता|निराशा|चुगली|चुनाव|पैरोडी|स्वांग",
        openers="माफ़ कीजिए,|अफ़सोस,|नहीं,",
        refusals="मैं मदद नहीं कर सकता।|मैं यह नहीं करूँगा।|मुझे मना करना होगा।",
    ),
    "ru": _language(
        common=(
            "и|в|не|на|я|быть|он|с|что|а|по|это|она|этот|к|но|они|мы|весь|который|из|у|который|то|за|свой|как|так|от|"
            "для|ты|привет|спасибо|сегодня|очень|хорошо|играть|кто|где|после|до"
        ),
        neutral="огород|велосипед|суп|погода|гитара|река|книга|торт|школа|котёнок",
        frames=(
            "ты можешь объяснить {a} и {b}?|мой друг любит {a} без {b}|мы говорим про {a} возле {b}.|"
            "{a} подходит для {b}?|вчера {a} и {b} были тут"
        ),
        held_out_frames="как {a} связано с {b}?|кто-то назвал {a} после {b}.",
        unsafe="оружие|контрабанда|нагота|паспорт|увечье|шантаж|переворот|пиратка|взлом",
        controversial="драка|лазейка|флирт|адрес|тоска|сплетня|выборы|кавер|маска",
        openers="Извините,|Увы,|Нет,",
        refusals="я не могу помочь.|я этого не сделаю.|я отклоняю просьбу.",
    ),
}
"""Language code to its words."""

SMALL_TALK: dict[str, tuple[str, ...]] = {
    "train": (
        *("gg", "ok", "lol", "brb", "thx", "hi", "?", "...", "👍", "+1", "42", "hm", "yo", "same", "nice", "", "  "),
        *("😂😂", "ja", "oui", "sí", "好", "はい", "да", "हाँ", "نعم", "no u"),
    ),
    "held_out": (
        *("gg wp", "okay", "rofl", "afk", "ty", "hey", "??", ". . .", "🎉", "+2", "77", "hmm", "sup", "me too"),
        *("🙂", "nein", "d'accord", "vale", "行", "うん", "нет"),
    ),
}
"""Split to whole messages of no class; blank ones only in training, where a worker refuses them anyway."""

BARE: dict[str, tuple[str, ...]] = {
    "train": ("{}", "{}!", "{}...", "({})", "{} {}", '"{}"'),
    "held_out": ("{}?!", "{}!!", "- {}", "{} 🙂", "ok {}"),
}
"""Split to the shapes of a message that is little more than its class word."""
