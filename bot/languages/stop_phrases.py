"""Does a text ask us to stop texting? Twilio knows eight single words; the law (47 CFR 64.1200(a)(10)) says any reasonable words.

Three answers: "stop" (plainly to us: honour it), "doubt" (maybe to us: ask once), None. A movement's members write about stopping
bills, evictions and buses, and a survivor about someone who will not stop texting her: none of these may cut them off. So a phrase
counts only where it speaks to us, at the beginning of a clause, and words that mean something else in a crowd (ruko, bas, paro, alto,
basta) never count.
"""

import re
import unicodedata
from typing import Literal

from bot.languages.answers import split_words

# https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out: on SMS the carrier itself obeys and answers these.
TWILIO_STOP = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})

# Ours, compared in folded form as a whole message. No word that a flow offers or that a crowd shouts.
OUR_STOP = frozenset(
    {
        *(
            "opt out",
            "opt-out",
            "opt me out",
            "stop all",
            "stop texts",
            "stop sms",
            "stop messages",
            "unsubscribe me",
            "unsub",
            "remove me",
        ),
        *("baja", "dar de baja", "darme de baja", "deme de baja", "denme de baja", "desuscribir", "desuscribirme", "desuscribirse"),
        *("band karo", "band kar do", "band kardo", "band kijiye", "band karein", "sms band", "message band", "msg band", "stop karo"),
        *("बंद करो", "बंद कर दो", "बंद कीजिए", "बंद कीजिये", "बंद करें", "स्टॉप", "मैसेज बंद", "एसएमएस बंद"),
    }
)
STOP_WORDS = TWILIO_STOP | OUR_STOP

_PLEASE = r"(?:please|pls|plz|ok|okay|hi|hello|hey|and|so|just|sorry|thanks|por favor|hola|ya|kripya|कृपया|प्लीज)"
_START = rf"^(?:{_PLEASE} )*"
_END = r"(?: (?:please|pls|plz|now|thanks|thank you|thx|asap|immediately|por favor|porfa|gracias|ya|ji|abhi|kripya|जी|अभी|कृपया|प्लीज))*$"
_MESSAGES = r"(?:text|texts|txt|txts|message|messages|msg|msgs|sms|smses|notifications|alerts|updates|spam)"
_THESE = r"(?:(?:all|any|more|anymore|these|those|this|the|your|ur|of|such|me|us|any more|group|stupid|damn) )*"
_COULD_YOU = r"(?:(?:can|could|would|will) (?:you|u) (?:please |pls |plz )?|(?:i|we) (?:want|need|asked|told|would like) you to )?"
_MY_NUMBER = r"(?:me|my number|my phone|my phone number|my name|this number)"
_OFF_THE_LIST = (
    r"(?:off|from|out)(?: of)?(?: (?:this|the|your|ur|that|all|these|any))*(?: \w+)?"
    rf" (?:list|lists|group|{_MESSAGES}|system|database|thread|chain)"
)

_ENGLISH = [
    rf"{_START}(?:i said )?(?:stop|unsubscribe|opt ?out|unsub)(?: me| all| everything)?{_END}",
    rf"{_START}(?:i said |you (?:need|have|must) (?:to )?|{_COULD_YOU})(?:stop|quit|cease) "
    r"(?:texting|messaging|contacting|spamming|bothering|writing)"
    r"(?: (?:me|us|my phone|this number|to me))?(?: (?:anymore|again|so much|at night|every day|all the time|these.*))?"
    rf"{_END}",
    rf"{_START}{_COULD_YOU}(?:stop|quit) (?:sending |with )?{_THESE}{_MESSAGES}(?: (?:to me|to this number|from .*|anymore|again))?{_END}",
    rf"{_START}{_COULD_YOU}(?:stop|quit) sending (?:me )?(?:these|this|them|stuff|things|anything|any more|more){_END}",
    rf"{_START}(?:i want |i need )?no more {_THESE}{_MESSAGES}(?: (?:from (?:you|this).*|to me|for me))?{_END}",
    rf"{_START}{_COULD_YOU}(?:remove|delete|erase) {_MY_NUMBER}(?: {_OFF_THE_LIST})?{_END}",
    rf"{_START}{_COULD_YOU}(?:take|get|drop) {_MY_NUMBER} {_OFF_THE_LIST}{_END}",
    rf"{_START}(?:i (?:want|wish|would like|need|have decided) to |let me |can i |i )?"
    rf"(?:opt (?:me )?out|unsubscribe|be unsubscribed|be removed)(?: me)?"
    rf"(?: (?:of|from) (?:(?:this|these|the|your|all|any) )+(?:list|service|{_MESSAGES}))?{_END}",
    rf"{_START}(?:do not|dont|never) (?:ever )?(?:text|txt|message|msg|contact|sms|write)(?: to)? (?:me|us|this number)"
    rf"(?: (?:again|anymore|any more|ever|ever again))*{_END}",
    rf"{_START}(?:do not|dont) send (?:me |us )?{_THESE}{_MESSAGES}(?: (?:to me|again|anymore|any more))*{_END}",
    rf"{_START}i (?:do not|dont|no longer) (?:want|wish|need)(?: to (?:get|receive|have|see))? {_THESE}{_MESSAGES}"
    rf"(?: (?:from (?:you|this .*)|anymore|any more|again))*{_END}",
    rf"{_START}i (?:want|need) (?:off|out of) (?:this|the|your) (?:list|group|{_MESSAGES}){_END}",
    rf"{_START}(?:lose my number|cancel (?:my subscription|(?:these|the|your|all) {_MESSAGES})){_END}",
]

_MENSAJES = r"(?:mensajes?|mensajitos|sms|textos?|msjs?|msj|avisos|notificaciones|alertas)"
_ESTOS = r"(?:(?:mas|estos|esos|sus|tus|los|las|este|ningun|esta|de|tantos|nada) )*"
_NO_ME = r"(?:manden?|mandes|envien?|envies|escriban?|escribas|texteen|textees|contacten?|contactes|mandar|enviar|escribir)"
_DE_LA_LISTA = rf"(?:de|del)(?: (?:la|su|esta|este|el|sus))? (?:lista|grupo|sistema|{_MENSAJES})"
_SPANISH = [
    rf"{_START}(?:ya )?no (?:me |nos )?{_NO_ME}(?: (?:mas|nada|nunca))*(?: {_ESTOS}{_MENSAJES})?(?: (?:mas|nunca|nada))*{_END}",
    rf"{_START}(?:quiero que )?(?:dejen?|dejes|deja|paren?|pares|para) de (?:mandar|enviar|escribir|textear|contactar)(?:me|nos)?"
    rf"(?: {_ESTOS}{_MENSAJES})?{_END}",
    rf"{_START}(?:paren|pare|detengan|cancelen|cancele|cancelar) (?:de )?{_ESTOS}{_MENSAJES}{_END}",
    rf"{_START}(?:ya )?no mas {_ESTOS}{_MENSAJES}{_END}",
    rf"{_START}(?:yo )?(?:ya )?no (?:quiero|deseo|necesito)"
    rf"(?: (?:mas|recibir|que me (?:manden|envien|escriban)|seguir recibiendo|nada de))* {_ESTOS}{_MENSAJES}{_END}",
    rf"{_START}(?:pueden? )?(?:borren?|borra|borrar|eliminen?|elimina|eliminar)(?:me| mi numero)(?: {_DE_LA_LISTA})?{_END}",
    rf"{_START}(?:pueden? )?(?:quiten?|quita|quitar|saquen?|saca|sacar)(?:me| mi numero) {_DE_LA_LISTA}{_END}",
    rf"{_START}(?:quiero |quisiera |necesito |deseo |favor de )?(?:dar(?:me)?|deme|denme|dame) de baja(?: (?:de|del) .*)?{_END}",
    rf"{_START}(?:quiero |quisiera )?(?:desuscribir(?:me|se)?|cancelar (?:mi |la )?su[bs]?scripcion){_END}",
]

_MSG = r"(?:(?:message|messages|massage|msg|msgs|mesej|maisej|sms|text|texts|sandesh|notification) ?)"
_BAND = r"(?:band|bandh|bund|stop) (?:karo|kro|karna|kijiye|kijie|karein|karen|kare|kar do|kardo|kar dijiye|kar de|kariye)"
_MAT = r"(?:mat|na|nahi) (?:bhej\w*|kar\w*|kijiye)"
_MUJHE = r"(?:(?:mujhe|mujhko|humein|hume|mere ko|muje|aap|ab|aur|ye|yeh|yah|ya|in|sab|saare|sare|koi|aage se|apne|itne|is) )*"
_HINGLISH = [
    rf"{_START}{_MUJHE}{_MSG}(?:bhejna |karna |ko |bhi )?{_BAND}{_END}",
    rf"{_START}{_BAND} {_MUJHE}{_MSG}(?:bhejna )?$",
    rf"{_START}{_BAND}{_END}",
    rf"{_START}{_MUJHE}(?:bhejna|message bhejna|sms karna|message karna) {_BAND}{_END}",
    rf"{_START}{_MUJHE}{_MSG}{_MAT}(?: karo| karna| kijiye)?{_END}",
    rf"{_START}{_MUJHE}mat bhej\w*(?: {_MUJHE}{_MSG})?{_END}",
    rf"{_START}{_MUJHE}{_MSG}(?:nahi|nahin|nhi) (?:chahiye|chaiye|chahie){_END}",
    rf"{_START}{_MUJHE}(?:mera (?:number|naam|no) (?:list se )?|mujhe (?:is )?(?:list|group) se |list se (?:mera (?:naam|number) )?)"
    rf"(?:hata\w*|nikal\w*|kaat\w*|delete) ?(?:do|dijiye|dein|de|karo|kar do|kijiye)?{_END}",
    rf"{_START}(?:unsubscribe|opt out) (?:karo|kar do|kijiye|karein|karna hai){_END}",
]

_SANDESH = r"(?:(?:मैसेज|मेसेज|मैसेजेस|संदेश|सन्देश|एसएमएस|टेक्स्ट|sms|message) ?)"
_BAND_DEVANAGARI = r"(?:बंद|बन्द|स्टॉप) (?:करो|करें|करे|कीजिए|कीजिये|करना|कर दो|कर दें|कर दीजिए|कर दीजिये|करिए)"
_MUJHE_DEVANAGARI = r"(?:(?:मुझे|मुझको|हमें|आप|अब|और|ये|यह|इन|सब|सारे|कोई|अपने|आगे से|इतने) )*"
_HINDI = [
    rf"{_START}{_MUJHE_DEVANAGARI}{_SANDESH}(?:भेजना |करना |को )?{_BAND_DEVANAGARI}{_END}",
    rf"{_START}{_BAND_DEVANAGARI}(?: {_MUJHE_DEVANAGARI}{_SANDESH})?{_END}",
    rf"{_START}{_MUJHE_DEVANAGARI}भेजना {_BAND_DEVANAGARI}{_END}",
    rf"{_START}{_MUJHE_DEVANAGARI}{_SANDESH}(?:मत|न|ना|नहीं) (?:भेजो|भेजें|भेजे|भेजिए|भेजिये|भेजना|करो|करें|करना|कीजिए){_END}",
    rf"{_START}{_MUJHE_DEVANAGARI}मत (?:भेजो|भेजें|भेजे|भेजिए|भेजिये|भेजना){_END}",
    rf"{_START}{_MUJHE_DEVANAGARI}{_SANDESH}(?:नहीं|नही) (?:चाहिए|चाहिये){_END}",
    rf"{_START}(?:मेरा (?:नंबर|नम्बर|नाम) |मुझे )(?:(?:इस |अपनी )?(?:लिस्ट|सूची|ग्रुप|समूह) से )?"
    rf"(?:हटाओ|हटा दो|हटाइए|हटाएं|हटा दें|हटा दीजिए|निकालो|निकाल दो|निकालें|निकाल दीजिए|काट दो){_END}",
]

# Maybe to us, maybe a sigh, maybe a slip of the thumb: asked once.
_DOUBT = [
    rf"{_START}(?:{_COULD_YOU}|you should |when will you )stop(?: (?:it|this|that|these|them|me))?{_END}",
    rf"{_START}(?:stpo|sotp|stp|stopp|sstop|st op|s t o p|tsop|unsubcribe|unsuscribe|unsubscibe|cancel|end|quit|cancel me){_END}",
    rf"{_START}i (?:do not|dont) want (?:this|these|that|it|any of this|anything from you){_END}",
    rf"{_START}i (?:do not|dont) want to be (?:here|(?:in|on|part of) (?:this|it|the|your)(?: (?:list|group))?){_END}",
    rf"{_START}(?:how (?:do|can) i (?:stop|quit|leave|unsubscribe|opt out)(?: .*)?|(?:too many|enough) {_MESSAGES}){_END}",
    rf"{_START}(?:(?:i am |im )?not interested|leave me alone|let me be|go away|i want out|take me off){_END}",
    rf"{_START}(?:who gave you my number|cancel my (?:membership|account)){_END}",
    rf"{_START}(?:(?:do not|dont) (?:bother|call) me.*|stop calling(?: me)?|stop harassing me){_END}",
    rf"{_START}(?:stop|quit) (?:texting|messaging|sending|bothering)(?: .*)?$",
    rf"{_START}no (?:quiero (?:esto|nada|estar (?:aqui|en esto)|seguir)|me interesa|(?:me )?molesten?|me llamen.*){_END}",
    rf"{_START}(?:dejen?me en paz|dejame en paz|muchos mensajes|paren|pare|paren esto|cancelar|saquen?me|quiten?me){_END}",
    rf"{_START}como (?:me salgo|cancelo|me doy de baja|paro los mensajes){_END}",
    rf"{_START}(?:(?:ye|yeh|isko|ise|yah) (?:sab )?{_BAND}|{_BAND} (?:ye|yeh|ise|isko|yah)(?: sab)?){_END}",
    rf"{_START}(?:mujhe )?(?:(?:ye )?nahi chahiye|pareshan mat kar\w*|tang mat kar\w*|akela chhod do|hatao){_END}",
    rf"{_START}(?:bahut (?:zyada )?{_MSG}(?:aate|aa rahe).*|{_MSG}(?:kaise|kese) band .*){_END}",
    rf"{_START}(?:(?:ये|यह|इसे|इसको) (?:सब )?{_BAND_DEVANAGARI}|{_BAND_DEVANAGARI} (?:ये|यह|इसे)){_END}",
    rf"{_START}(?:मुझे )?(?:(?:ये |यह )?नहीं चाहिए|परेशान मत कर.*|तंग मत कर.*|अकेला छोड़ दो){_END}",
    rf"{_START}(?:बहुत (?:ज़्यादा |ज्यादा )?{_SANDESH}(?:आते|आ रहे).*|{_SANDESH}कैसे बंद .*){_END}",
]


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    """One expression for all of them, their common beginning tried once: every message is held against it."""
    if not all(pattern.startswith(_START) for pattern in patterns):
        raise ValueError("every pattern is of a whole text: it begins with _START")
    either = "|".join(pattern.removeprefix(_START) for pattern in patterns)
    return re.compile(unicodedata.normalize("NFC", f"{_START}(?:{either})"))  # the form in which `fold` leaves ड़ and ज़


_STOP = _any_of([*_ENGLISH, *_SPANISH, *_HINGLISH, *_HINDI])
_IN_DOUBT = _any_of(_DOUBT)
# The end of a clause: "Who is this? Stop texting me."
_CLAUSE = re.compile(r"[.!?;,\n।॥]+|\b(?:because|but|porque|pero|kyunki|lekin|क्योंकि|लेकिन)\b")
_LONGEST_CLAUSE = 20


def judge_stop(text: str) -> Literal["stop", "doubt"] | None:
    """Whether a whole inbound text asks us to stop: "stop" when it plainly does, "doubt" when one question should settle it, else None."""
    whole = split_words(text)
    if " ".join(whole) in _SAID:
        return "stop"
    verdict = _judge_words(whole)
    if verdict == "stop":
        return verdict
    clauses = [words for words in map(split_words, _CLAUSE.split(text.lower())) if words]
    if len(clauses) > 1:
        # One word among sentences ("Stop. Look. Listen.") is not yet a request; a phrase that names messages is.
        verdicts = {_judge_words(words) for words in clauses if len(words) > 1 or words[0] in ("unsubscribe", "optout")}
        if "stop" in verdicts:
            return "stop"
        if len(clauses) == 2 and ("doubt" in verdicts or [whole[:1], clauses[0]] == [["stop"], ["stop"]]):
            return "doubt"
    return verdict


def _judge_words(tokens: list[str]) -> Literal["stop", "doubt"] | None:
    if not tokens or len(tokens) > _LONGEST_CLAUSE:
        return None
    said = " ".join(tokens)
    if len(set(tokens)) == 1 and tokens[0] == "stop":
        return "stop"
    if _STOP.match(said):
        return "stop"
    return "doubt" if _IN_DOUBT.match(said) else None


_SAID = frozenset(" ".join(split_words(word)) for word in STOP_WORDS)
