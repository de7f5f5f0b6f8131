"""Answers as people text them, and texts made safe to keep."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.languages.answers import (
    clean_text,
    fold,
    parse_choice,
    parse_language,
    parse_number,
    parse_scale,
    parse_yes_no,
    parse_yes_no_maybe,
    split_words,
)

YES = """yes|Yes!|YES.|y|yeah|yep|ok|okay|sure|yes please|Yes, please.|of course|yesss|👍|👍🏽|✅|yes 👍
|I will|I'm coming|sí|si|Sí, claro|¡Sí!|si gracias|claro que sí|por supuesto|vale|siii
|haan|ha|haa|han|ji|haan ji|haanji|ji haan|theek hai|bilkul|हाँ|हां|हा|हाँ।|जी|जी हाँ|हाँ जी|ठीक है|बिल्कुल|ज़रूर"""
NO = """no|No.|n|nope|nah|no thanks|no thank you|no, sorry|nooo|👎|👎🏿|❌
|I can't|not now|no gracias|No, gracias|claro que no|no puedo
|nahi|nahin|na|nahi ji|ji nahi|bilkul nahi|नहीं|नही|ना|जी नहीं|नहीं, धन्यवाद"""
MAYBE = """maybe|Maybe.|perhaps|not sure|I'm not sure|maybe yes|maybe not|I don't know|quizá|quizás|tal vez|talvez
|a lo mejor|puede ser|no sé|shayad|pata nahi|शायद|पता नहीं|🤷🏽‍♀️"""
UNCLEAR = """|yes but no|no idea|yes or no|yes/no|n/a|ha ha|haha|not|thanks|gracias|what?|no yes|si no|1|👍👎
|yes I can't|yes at 6 maybe or not|okra|Nora|हा हा|मैं"""


def cases(table: str) -> list[str]:
    return table.replace("\n", "").split("|")


LANGUAGE = {
    "en": "en|EN|English|in english please|LANG en|inglés",
    "es": "es|español|Espanol.|idioma español|lang es|Spanish por favor",
    "hi": "hi|Hindi|हिंदी|हिन्दी।|lang hindi|LANG hi|bhasha hindi|भाषा हिंदी",
    "hi-Latn": "hi-latn|LANG hi-latn|hinglish|lang hindi in english|Hindi (abc)",
    None: "b|lang|hindi english spanish|my english is bad|no|",
}


@pytest.mark.parametrize(("language", "texts"), LANGUAGE.items(), ids=str)
def test_a_language_by_its_name(language: str | None, texts: str) -> None:
    assert {text: parse_language(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), language)


@pytest.mark.parametrize("text", cases(YES))
def test_yes(text: str) -> None:
    assert parse_yes_no(text) is True
    assert parse_yes_no_maybe(text) == "yes"


@pytest.mark.parametrize("text", cases(NO))
def test_no(text: str) -> None:
    assert parse_yes_no(text) is False
    assert parse_yes_no_maybe(text) == "no"


@pytest.mark.parametrize("text", cases(MAYBE))
def test_maybe_is_neither_yes_nor_no(text: str) -> None:
    assert parse_yes_no(text) is None
    assert parse_yes_no_maybe(text) == "maybe"


@pytest.mark.parametrize("text", cases(UNCLEAR))
def test_unclear_is_asked_again(text: str) -> None:
    assert parse_yes_no(text) is None
    assert parse_yes_no_maybe(text) != "yes"


OPTIONS = ["Saturday", "Sunday", "Súndar Nagar", "ना कोई दिन"]


@pytest.mark.parametrize(
    "text", ["b", "B", "B)", "(b)", "b.", "b!", "option b", "Opción B", "b please", "la b", "I vote b", "🅱️", "Ｂ", "बी", "b) Sunday"]
)
@pytest.mark.parametrize("digits", [True, False])
def test_a_letter(text: str, digits: bool) -> None:
    assert parse_choice(text, OPTIONS, digits) == 1


@pytest.mark.parametrize("text", ["2", "2.", "#2", "two", "dos", "do", "दो", "2️⃣", "２", "२", "number 2", "2 please"])
def test_a_digit_only_where_digits_count(text: str) -> None:
    assert parse_choice(text, OPTIONS, digits=True) == 1
    assert parse_choice(text, OPTIONS, digits=False) is None


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("saturday", 0),
        ("Sat", 0),
        ("SUNDAY!", 1),
        ("sundar nagar", 2),
        ("sunda", None),
        ("sundar", 2),
        ("sa", None),
        ("ना कोई दिन", 3),
        ("ना कोई", 3),
    ],
)
def test_its_own_words(text: str, index: int | None) -> None:
    assert parse_choice(text, OPTIONS, digits=False) == index


@pytest.mark.parametrize(
    "text", ["", "?", "e", "z", "0", "5", "-1", "b or c", "a b", "b) Saturday", "not b", "1 2", "1.5", "no", "saturday or sunday"]
)
def test_no_choice(text: str) -> None:
    assert parse_choice(text, OPTIONS, digits=True) is None


def test_own_words_win_over_numbers_nobody_was_shown_and_clash_with_letters_that_were() -> None:
    assert parse_choice("2", ["10", "20", "2"], digits=True) == 2
    assert parse_choice("b", ["B", "A"], digits=False) is None
    assert parse_choice("same", ["same", "Same"], digits=False) is None
    assert parse_choice("🎉", ["🎉", "😀"], digits=False) == 0
    assert parse_choice("a", [], digits=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "3",
        "3.",
        " 3 ",
        "three",
        "tres",
        "teen",
        "तीन",
        "३",
        "३।",
        "3️⃣",
        "３",
        "3/5",
        "३/५",
        "3 out of 5",
        "3 de 5",
        "a 3",
        "3 please",
        "I feel 3 today",
    ]
    + ["3!!!", "hoy 3", "estoy 3", "aaj 3", "③"],
)
def test_scale(text: str) -> None:
    assert parse_scale(text, 1, 5) == 3


@pytest.mark.parametrize("text", ["", "0", "6", "12", "3 or 4", "3-4", "-3", "2.5", "3/4", "great", "not 3", "½", "3 5 1", "9" * 5000, "b"])
def test_no_point_on_the_scale(text: str) -> None:
    assert parse_scale(text, 1, 5) is None


def test_scale_of_ten() -> None:
    assert parse_scale("10", 1, 10) == parse_scale("🔟", 1, 10) == parse_scale("ten", 1, 10) == parse_scale("10/10", 1, 10) == 10
    assert parse_scale("1/5", 1, 10) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("12", 12), ("9999", 9999), ("1,200", 1200), ("1.200", 1200), ("twenty five", 25), ("twenty-five", 25), ("veinte", 20)]
    + [
        ("treinta y cinco", 35),
        ("veintidós", 22),
        ("bees", 20),
        ("बीस", 20),
        ("२५", 25),
        ("5 people", 5),
        ("somos 4", 4),
        ("hum 6 log", 6),
        ("none", 0),
    ],
)
def test_number(text: str, number: int) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "10000", "10,000", "-5", "5 or 6", "5-6", "2.5", "many", "1,200,000", "5 people and 2 dogs", "8" * 6000]
)
def test_no_number(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        (" JOIN  Sangha! ", "join sangha"),
        ("¡Sí!", "si"),
        ("Español", "espanol"),
        ("हिन्दी।", "हिन्दी"),
        ("हाँ", "हाँ"),
        ("ज़रूर", "ज़रूर"),
        ("STOP\u200b\u202e.", "stop"),
        ("(b)", "b"),
        ("?", "?"),
        ("!!!", "!!!"),
        ("", ""),
        ("Don’t", "don't"),
        ("ＨＥＬＰ", "help"),
        ("Straße", "strasse"),
        ("й", "й"),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text("aáÉñ हिन्दीकाँज़ड़.!?()'\u200dनीİé\u0301 \n", max_size=40))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text("अआइईकखगघचजटडतदनपबमयरलवशसहािीुूेैोौंँः्", min_size=1, max_size=30))
def test_folding_never_damages_devanagari(text: str) -> None:
    assert fold(text) == text


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(st.characters(), max_size=80))
def test_clean_text_is_always_xml_and_keeps_what_is_harmless(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    escaped = clean.replace("&", "&amp;").replace("<", "&lt;")
    assert (ElementTree.fromstring(f"<b>{escaped}</b>").text or "") == clean
    clean.encode("utf-8")


def test_clean_text() -> None:
    assert clean_text("a\x00b\x0bc\x1b\ud800d\ufffe\uffff") == "abcd"
    assert clean_text("one\r\ntwo\rthree\tfour") == "one\ntwo\nthree\tfour"
    assert clean_text("pay \u202eevil\u202c now") == "pay evil now"
    assert clean_text("क्‍ष 👩‍👩‍👧 €") == "क्‍ष 👩‍👩‍👧 €"  # the joiners of Devanagari and of families stay


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text(max_size=200))
def test_no_text_breaks_an_answer(text: str) -> None:
    parse_yes_no_maybe(text)
    parse_choice(text, OPTIONS, digits=True)
    parse_number(text)
    value = parse_scale(text, 1, 5)
    assert value is None or 1 <= value <= 5
    assert all(word.strip() for word in split_words(text))
