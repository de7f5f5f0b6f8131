"""Forgiving readings of a member's answer. Each is made once, when the answer is heard; what it returns is what is recorded.

Nothing here guesses: an answer that could be two things is None, and the bot asks again kindly.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from bot.languages.catalog import match_language
from bot.languages.folding import clean_text, fold
from bot.languages.numerals import read_digits, read_number_words

__all__ = ["clean_text", "fold", "parse_choice", "parse_number", "parse_scale", "parse_yes_no", "parse_yes_no_maybe", "split_words"]


def _phrases(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(split_words(phrase)) for line in lines for phrase in line.split(","))


def _single_words(line: str) -> frozenset[str]:
    return frozenset(map(fold, line.split()))


# Emoji that stand for a word; the skin tones are dropped.
_SIGNS = str.maketrans(
    dict.fromkeys("👍👌✅✔☑🆗", " yes ")
    | dict.fromkeys("👎❌✖🚫", " no ")
    | {"🤷": " maybe ", "🅰": "a", "🅱": "b", "🔟": " 10 "}
    | dict.fromkeys("🏻🏼🏽🏾🏿♀♂")
)
# The same for the texts that are nothing but ASCII, which most are.
_ASCII = {number: " " for number in range(128) if not chr(number).isalnum()}
_STRETCHED = re.compile(r"([a-z])\1{2,}")


def split_words(text: str) -> list[str]:
    """The folded words of a text without punctuation, digits of any script as 0-9; apostrophes vanish inside a word ("don't" is "dont")."""
    folded = fold(text).replace("'", "")
    if folded.isascii():
        return folded.translate(_ASCII).split()
    return "".join(map(_letter_or_space, folded.translate(_SIGNS))).split()


def _letter_or_space(char: str) -> str:
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    # A matra is a mark, so "word" can not be said with \w: everything but letters, marks and numbers separates.
    return char if char.isalnum() or unicodedata.category(char)[0] == "M" else " "


_YES = _phrases(
    "yes,y,yeah,yep,yeap,yup,yea,yess,yah,ok,okay,okey,k,kk,sure,of course,definitely,absolutely,certainly,sounds good,im in,count me in",
    "i will,i do,i am,i would,i can,im coming,i am coming",
    "ill come,ill be there,i will come,yes i do,yes i am,yes i will,yes i would,yes i can",
    "sí,sip,sii,claro,claro que sí,por supuesto,seguro,vale",
    "dale,bueno,de acuerdo,desde luego,cuenten conmigo,cuenta conmigo,voy,ahí estaré",
    "haan,haa,ha,han,hã,hanji,haanji,ji,jee,ji haan,theek hai",
    "thik hai,theek,thik,bilkul,zaroor,zarur,jaroor,jarur,sahi hai,main aaunga,main aaungi",
    "हाँ,हां,हा,हॉं,हाँजी,हांजी,जी,जी हाँ,ठीक है,ठीक,बिल्कुल,बिलकुल,ज़रूर,जरूर,जरुर,ज़रूर,सही है,ओके,यस,आऊंगा,आऊंगी,आऊँगा,आऊँगी",
)
_NO = _phrases(
    "no,noo,n,nope,nah,naw,no way,not now,not today,never",
    "i cant,i cannot,i wont,i dont,i am not,im not,not really,cant come,i cant come,cant make it",
    "no i cant,no i wont,no i dont,no i am not,no im not",
    "no i would not,i cant make it,not coming,im not coming,i am not coming,of course not",
    "nop,nel,para nada,claro que no,no puedo,no voy,ahora no,hoy no,nunca,no quiero,ya no",
    "nahi,nahin,nahee,nhi,nai,na,naa,ji nahi,ji nahin,bilkul nahi,abhi nahi,nahi aa sakta,nahi aa sakti,nahi ji",
    "नहीं,नही,नहि,ना,न,जी नहीं,बिल्कुल नहीं,अभी नहीं,नहीं आ सकता,नहीं आ सकती,नो",
)
_MAYBE = _phrases(
    "maybe,maybe not,maybe yes,may be,perhaps,not sure,im not sure,i am not sure,not sure yet,unsure",
    "possibly,probably,might,i might,dont know,i dont know,idk,dunno",
    "quizá,quizás,tal vez,talvez,a lo mejor,puede",
    "puede ser,puede que sí,no sé,no sé todavía,no estoy seguro,no estoy segura,posiblemente",
    "shayad,shayed,shaayad,sayad,ho sakta hai,dekhte hain,dekhta hun,dekhti hun,pata nahi,pata nahin,pakka nahi",
    "शायद,हो सकता है,देखते हैं,पता नहीं,पक्का नहीं",
)
# What may stand beside a yes or a no without changing it.
_POLITE = _phrases(
    "please,pls,plz,thanks,thank you,thank u,thx,ty,sir,madam,maam,friend,love,sorry,hi,hello",
    "gracias,muchas gracias,por favor,porfa,señora,señor,amiga,amigo,lo siento,hola",
    "ji,jee,shukriya,dhanyavaad,dhanyavad,kripya,didi,bhai,bhaiya,behen,namaste,maaf",
    "जी,शुक्रिया,धन्यवाद,कृपया,दीदी,भाई,भैया,बहन,नमस्ते,माफ़",
)
_LONGEST_PHRASE = max(len(phrase.split()) for phrase in _YES | _NO | _MAYBE | _POLITE)

_KINDS: dict[str, str] = (
    dict.fromkeys(_POLITE, "polite") | dict.fromkeys(_MAYBE, "maybe") | dict.fromkeys(_NO, "no") | dict.fromkeys(_YES, "yes")
)


def parse_yes_no(text: str) -> bool | None:
    """Yes or no, when the whole short answer says so; "not sure", "yes but no" and "no idea" are None."""
    kinds = _kinds_of(text)
    if kinds == {"yes"}:
        return True
    return False if kinds == {"no"} else None


def parse_yes_no_maybe(text: str) -> Literal["yes", "no", "maybe"] | None:
    """An RSVP. "Maybe yes" is maybe; an answer that says yes and no is None."""
    kinds = _kinds_of(text)
    if kinds == {"yes"}:
        return "yes"
    if kinds == {"no"}:
        return "no"
    return "maybe" if "maybe" in kinds else None


def _kinds_of(text: str) -> set[str]:
    """What the answer says ({"yes"}, {"no", "maybe"} …), empty when any part of it is none of these. The longest phrase counts."""
    tokens = [_STRETCHED.sub(r"\1", token) for token in split_words(text)]
    if " ".join(tokens) in _YES:  # "ji" alone is a yes, beside a no it is only polite
        return {"yes"}
    if len(tokens) > 1 and set(tokens) <= {"ha", "haha", "हा"}:  # laughter
        return set()
    kinds = set()
    at = 0
    while at < len(tokens):
        for size in range(min(_LONGEST_PHRASE, len(tokens) - at), 0, -1):
            kind = _polite_or(" ".join(tokens[at : at + size]))
            if kind:
                kinds.add(kind)
                at += size
                break
        else:
            return set()
    return kinds - {"polite"}


def _polite_or(phrase: str) -> str | None:
    return "polite" if phrase in _POLITE else _KINDS.get(phrase)


# What may surround a letter or a number in an answer ("option b please", "mi voto es la b", "I feel 3 today").
_AROUND_CHOICE = _single_words(
    "option opcion vikalp विकल्प letter letra akshar अक्षर number numero num vote voto i choose pick answer respuesta jawab is es "
    "elijo escojo the my mi la el por for please por favor pls gracias thanks ji जी ko को"
)
_AROUND_NUMBER = _single_words(
    "a an about around like only just maybe the number numero is its i am im feel feeling today now please pls thanks thank you "
    "un como solo me siento hoy el es estoy somos soy de la por favor gracias "
    "aaj main mein meri mera hoon hun hai hain ji sirf hum आज मैं हूँ हूं है हैं जी सिर्फ हम "
    "people persons person personas persona of us log लोग logon people we are level nivel"
)
_AROUND_LANGUAGE = _single_words("lang language idioma lengua bhasha भाषा in please pls por favor ji जी")
_OUT_OF = ("out of", "of", "de", "sobre", "mein se", "में से", "")
_LETTER_NAMES = {"ए": "a", "बी": "b", "सी": "c", "डी": "d"}


def parse_choice(text: str, options: Sequence[str], digits: bool) -> int | None:
    """The index of the option that was meant: its letter ("b", "(b)", "option b"), its number when `digits`, its own words,
    or the beginning of them (three letters or more) when only one option begins so."""
    tokens = split_words(text)
    own = [" ".join(split_words(option)) for option in options]
    if not tokens:
        return _only(at for at, option in enumerate(options) if fold(option) == fold(text))
    said = " ".join(tokens)
    letter = _parse_letter(_without(tokens, _AROUND_CHOICE), len(options))
    named = {at for at, option in enumerate(own) if option == said}
    if named:
        return _only(named | ({letter} if letter is not None else set()))
    if letter is not None:
        return letter
    if digits:
        number = read_number_words(_without(tokens, _AROUND_CHOICE))
        if number is not None and not _is_signed(text):
            return number - 1 if 1 <= number <= len(options) else None
    begun = _only(at for at, option in enumerate(own) if len(said) >= 3 and option.startswith(said))
    return begun if begun is not None else _parse_labelled(tokens, own, digits)


def _parse_letter(tokens: list[str], count: int) -> int | None:
    if len(tokens) != 1:
        return None
    letter = _LETTER_NAMES.get(tokens[0], tokens[0])
    at = ord(letter) - ord("a") if len(letter) == 1 else -1
    return at if 0 <= at < min(count, 26) else None


def _parse_labelled(tokens: list[str], own: list[str], digits: bool) -> int | None:
    """An option copied with its label ("b) Saturday"), when the two agree."""
    label, rest = tokens[:1], " ".join(tokens[1:])
    at = _parse_letter(label, len(own))
    number = read_digits(label[0])
    if at is None and digits and number is not None:
        at = number - 1
    return at if at is not None and 0 <= at < len(own) and rest == own[at] else None


def parse_language(text: str) -> str | None:
    """The language that was named by its code or name, alone or as in "LANG hindi" and "in spanish please"; None when none was."""
    named = match_language(text)
    if named is None:
        named = match_language(" ".join(_without(fold(text).split(), _AROUND_LANGUAGE)))
    return named


def parse_scale(text: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high`, in digits of any script or in a word; "4/5" and "4 out of 5" are 4 where 5 is the top."""
    tokens = split_words(text)
    for before in _OUT_OF if len(tokens) > 1 and tokens[-1] == str(high) else ():
        tail = [*before.split(), tokens[-1]]
        if tokens[-len(tail) :] == tail and (before or "/" in text):
            tokens = tokens[: -len(tail)]
            break
    number = _parse_count(text, tokens)
    return number if number is not None and low <= number <= high else None


def parse_number(text: str) -> int | None:
    """A whole number from 0 to 9999, in digits ("1,200" too) or in words ("twenty five", "veinte", "बीस"); several numbers are None."""
    joined = re.sub(r"(?<!\d)(\d)[.,](\d{3})(?![\d.,]*\d)", r"\1\2", text)
    number = _parse_count(joined, split_words(joined))
    if number is None and fold(text) in ("none", "nobody", "no one", "nadie", "ninguno", "ninguna", "koi nahi", "koi nahin", "कोई नहीं"):
        return 0
    return number if number is not None and number <= 9999 else None


def _parse_count(text: str, tokens: list[str]) -> int | None:
    return None if _is_signed(text) else read_number_words(_without(tokens, _AROUND_NUMBER))


def _is_signed(text: str) -> bool:
    """A number with a minus before it is not an answer to any question we ask; reading it without would be a wrong guess."""
    return re.match(r"\s*[-−–]\s*\d", text) is not None


def _without(tokens: list[str], around: frozenset[str]) -> list[str]:
    kept = [token for token in tokens if token not in around]
    return kept or tokens


def _only(indexes: Iterable[int]) -> int | None:
    found = list(indexes)
    return found[0] if len(found) == 1 else None
