"""Every word in every language: the catalogue, and the law that no text exists in only one language."""

from pathlib import Path

import pytest

from bot.languages import LANGUAGES, count_words, match_language, missing, translation, words
from bot.languages import __main__ as command
from bot.languages.collect import Found, collect_from_source, collect_texts, find_gaps, placeholders
from bot.languages.content import render_alert, render_check_in, render_notice, render_poll
from bot.languages.segments import count_segments

ROOT = Path(__file__).resolve().parents[1]
ALERT = "Coming? Reply YES, NO or MAYBE."


def test_every_text_is_said_in_every_language_with_the_same_placeholders() -> None:
    gaps = find_gaps(collect_texts(ROOT))
    if gaps:
        pytest.fail(f"{len(gaps)} gaps:\n" + "\n".join(map(str, gaps)), pytrace=False)


@pytest.mark.parametrize("language", ["es", "hi-Latn"])
def test_a_translation_costs_no_other_alphabet(language: str) -> None:
    """Spanish avoids á í ó ú, Hindi in Latin letters is plain: one such character makes the text cost twice."""
    dear = {text: count_segments("".join(said)).culprits for text, said in _translations(language).items()}
    assert not {text: culprits for text, culprits in dear.items() if culprits}


def _translations(language: str) -> dict[str, tuple[str, ...]]:
    return {found.text: translation(language, found.text) for found in collect_texts(ROOT)}


def test_words_are_translated_and_filled() -> None:
    assert words("en", ALERT) == ALERT
    assert words("es", ALERT).startswith("¿Viene?")
    assert "शायद" in words("hi", ALERT)
    assert "SHAYAD" in words("hi-Latn", ALERT)
    assert words("en", "Hello {name}, {n} people", name="Ana", n=3) == "Hello Ana, 3 people"


def test_braces_in_a_value_are_inert() -> None:
    assert words("en", "{collective}: hi", collective="{n} {0} {x.__class__}") == "{n} {0} {x.__class__}: hi"


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="name"):
        words("en", "Hello {name}")


@pytest.mark.parametrize("language", ["es", "hi", "hi-Latn", "fr", ""])
def test_a_text_without_translation_is_english(language: str) -> None:
    assert words(language, "No one has translated this {x}.", x=1) == "No one has translated this 1."
    assert count_words(language, "1 cat", "{n} cats", 2) == "2 cats"
    assert count_words(language, "1 cat", "{n} cats", 0) == "0 cats"


def test_missing_names_each_text_once() -> None:
    assert missing(["Not there", ALERT, "Not there"], "hi-Latn") == ["Not there"]
    assert missing(["Not there"], "en") == []


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["0 people", "1 person", "2 people"]),
        ("es", ["0 personas", "1 persona", "2 personas"]),
        ("hi", ["0 व्यक्ति", "1 व्यक्ति", "2 लोग"]),
        ("hi-Latn", ["0 vyakti", "1 vyakti", "2 log"]),
    ],
)
def test_counted_words_follow_the_language(language: str, said: list[str]) -> None:
    assert [count_words(language, "1 person", "{n} people", n) for n in range(3)] == said


@pytest.mark.parametrize(
    ("spellings", "language"),
    [
        (["EN", "english", "English.", "inglés", "अंग्रेज़ी", "angrezi", "en-US"], "en"),
        (["es", "ES", "español", "espanol", "Spanish", "castellano", "es_MX"], "es"),
        (["hi", "hindi", "Hindi!", "हिन्दी", "हिंदी", "hi-IN"], "hi"),
        (["hinglish", "hi-latn", "hi_Latn", "hindi abc", "Hindi (abc)", "roman hindi", "hindi in english"], "hi-Latn"),
        (["", "?", "hola", "fr", "hindu", "yes", "spanish or english", "it-IT"], None),
    ],
)
def test_languages_are_recognised(spellings: list[str], language: str | None) -> None:
    assert {spelling: match_language(spelling) for spelling in spellings} == dict.fromkeys(spellings, language)


SOURCE = """
HINT = "Reply with a number."
TABLE = {"a": mark("In a table")}
NAMED = "By a name"

def flow(hint="As a default"):
    yield Say("Said {x}", x=1)
    yield YesNo("name", "Asked" if flow else "Asked otherwise", hint="With a hint")
    yield Choice("which", "Chosen", ["Bread", "Milk"])
    yield Say(NAMED)
    words(language, "Worded "
                    "in two lines")
    count_words(language, "1 cat", "{n} cats", 3)
    words(language, variable)
    write_to(turn, her, "Written to her")
    raise NotUnderstood("Please reply YES or NO.")
    words(language, "{collective}: {body}")
    other("Not for members", param_hint="NAME")
"""


def test_texts_are_collected_from_the_source() -> None:
    found = list(collect_from_source(SOURCE, "flows/x.py"))
    assert {(item.text, item.many) for item in found} == {
        ("Reply with a number.", None),
        ("In a table", None),
        ("By a name", None),
        ("As a default", None),
        ("Said {x}", None),
        ("Asked", None),
        ("Asked otherwise", None),
        ("With a hint", None),
        ("Chosen", None),
        ("Bread", None),
        ("Written to her", None),
        ("Please reply YES or NO.", None),
        ("Milk", None),
        ("Worded in two lines", None),
        ("1 cat", "{n} cats"),
    }
    assert next(item.place for item in found if item.text == "Asked") == "flows/x.py:8"


def test_an_f_string_can_not_be_translated() -> None:
    with pytest.raises(SyntaxError, match="flows/x.py:1"):
        list(collect_from_source('Say(f"Hello {name}")', "flows/x.py"))


def test_gaps_are_named_exactly() -> None:
    gaps = find_gaps([Found("Never said", None, "flows/x.py:3"), Found(ALERT, None, "y")], ["es"])
    assert [str(gap) for gap in gaps] == ["es: not translated: 'Never said' (flows/x.py:3)"]
    assert placeholders("{b} {a:>3} {{c}}") == ["a", "b"]


def test_the_command_checks_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check"]) in (0, 1)
    assert f"in {len(LANGUAGES)} languages" in capsys.readouterr().out
    assert command.main([]) == 2


def test_poll_alert_notice_and_check_in() -> None:
    assert render_poll("en", "Where do we meet? ", ["Park", " Hall\n"]) == "Where do we meet?\nA Park\nB Hall\nReply with a letter."
    assert render_alert("en", "Sangha", "Rally today 10am\n") == f"Sangha: Rally today 10am\n{ALERT}"
    assert render_notice("hi", "Sangha", "{x}") == "Sangha: {x}"
    assert render_check_in("es", "Sangha {1}") == "Sangha {1}: ¿qué tal le va hoy, de 1 (mal) a 5 (muy bien)?"
    with pytest.raises(ValueError, match="2 to 26"):
        render_poll("en", "Where?", ["Park"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_stands_around_content_fits_one_segment(language: str) -> None:
    assert count_segments(render_check_in(language, "Sangha")).segments == 1
    assert count_segments(render_poll(language, "कब?" if language == "hi" else "Cuando?", ["Sat", "Sun"])).segments == 1
    assert count_segments(render_alert(language, "Sangha", "Rally 10am")).segments == 1
