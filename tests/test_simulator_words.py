"""The page of the phones in Spanish and Hindi: no word of its own is in English only, none is in a language nobody asked for."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import requests
from babel.messages.pofile import read_po

from bot.inbound import jumps
from bot.simulator import codes, words
from bot.simulator.client import RunningSimulator
from bot.simulator.lines import MOST_PHONES, ROLES
from bot.simulator.switches import GROUPS, OFTEN
from tests.carrier import MEMBER, SMS, Receiver
from tests.test_console_words import holes

SIMULATOR = Path(words.__file__).parent
OTHERS = [code for code in words.LANGUAGES if code != "en"]
_STRING = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
# What stays in Latin letters in a Hindi sentence: names, and what is typed as it is.
NAMES = set("Chorus Twilio TwiML WhatsApp SMS HTTP JavaScript webhook flask doctor line all CHORUS_HOME tests conversations".split())
NAMES |= {"Messaging", "Service", "whatsapp"}


def in_scripts(call: str, arguments: int) -> list[list[str]]:
    """The literals at the beginning of every such call in the page's scripts."""
    pattern = re.compile(rf"\b{call}\(\s*" + r"\s*,\s*".join([_STRING] * arguments))
    sources = [path.read_text("utf-8") for path in sorted((SIMULATOR / "static").glob("*.js"))]
    return [[ast.literal_eval(one) for one in found.groups()] for source in sources for found in pattern.finditer(source)]


def texts() -> dict[str, str | None]:
    """Every English text of the page, with its plural: from the template, the scripts, the modules and their tables."""
    template = (SIMULATOR / "templates" / "phones.html").read_text("utf-8")
    found: dict[str, str | None] = {ast.literal_eval(one): None for one in re.findall(r"\b_\(\s*" + _STRING, template)}
    found |= {text: None for (text,) in in_scripts("say", 1)}
    found |= {one: many for one, many in in_scripts("sayCount", 2)}
    for path in sorted(SIMULATOR.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "mark", "count"):
                literals = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                literals = literals[1:] if literals[:1] == ["en"] else literals
                if literals:
                    found[literals[0]] = literals[1] if node.func.id == "count" else None
    tables = [*ROLES, *codes.WORDS.values(), *(name for name, _ in OFTEN.values()), *(title for title, _ in GROUPS)]
    tables += [text for _, switches in GROUPS for switch in switches for text in (switch.words, switch.shows)]
    # What Chorus says of its time stands in Chorus, and is said here in the page's language.
    tables += [*jumps.KINDS.values(), jumps.WAITING, jumps.SOMETHING, jumps.NOTHING]
    return found | dict.fromkeys(tables)


@pytest.mark.parametrize("language", OTHERS)
def test_every_word_is_translated(language: str) -> None:
    with (words.FOLDER / f"{language}.po").open("rb") as file:
        catalog = {message.id if isinstance(message.id, str) else message.id[0]: message for message in read_po(file) if message.id}
    known, problems = texts(), []
    for text, many in known.items():
        message = catalog.get(text)
        forms = (message.string,) if message is not None and isinstance(message.string, str) else tuple(message.string) if message else ()
        if not forms or not all(forms) or (many is not None) is not (len(forms) == 2):
            problems.append(f"not translated: {text!r}")
        elif holes(many or text) != holes(forms[-1]) or not holes(forms[0]) <= holes(many or text):
            problems.append(f"other placeholders: {text!r}")
        elif language == "hi" and (foreign := latin(re.sub(r"\{\w+\}", "", " ".join(forms)))):
            problems.append(f"in Latin letters: {foreign} in {text!r}")
    assert not problems, "\n".join(problems)
    unused = sorted(set(catalog) - set(known))
    assert not unused, f"nobody says these any more: {unused}"


def latin(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-zÀ-ÿ_]{2,}", text)) - NAMES


def test_no_script_says_anything_by_itself() -> None:
    """A text for people goes through `say`: what else stands in quotes in the scripts is markup, a path or a name."""
    for path in sorted((SIMULATOR / "static").glob("*.js")):
        source = re.sub(r"(?m)(^|\s)//.*$", "", path.read_text("utf-8"))
        source = re.sub(r"\b(say|sayCount)\(\s*" + _STRING + r"(\s*,\s*" + _STRING + ")?", "", source)
        loose = [one for one in re.findall(r'"[^"\n]*"', source) if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}|\"[A-Z][a-z]+", one)]
        allowed = {'"use strict"', '"Content-Type"', '"Accept-Language"', '"Enter"', '"ticks double"', '"bubble mine"'}
        assert set(loose) <= allowed, path.name
        templates = [re.sub(r"\$\{[^}]*\}", "", one) for one in re.findall(r"`[^`]*`", source)]
        assert {one for one in templates if re.search(r"[A-Za-z]{2,} ", one)} <= {"`HTTP `", "`live `"}, path.name


def get(simulator: RunningSimulator, path: str = "/", accept: str = "", **cookies: str) -> requests.Response:
    return requests.get(simulator.url + path, headers={"Accept-Language": accept} if accept else {}, cookies=cookies, timeout=5)


def language_of(page: requests.Response) -> str:
    found = re.findall(r'value="(\w\w)" lang="\1" class="plain" aria-pressed="true"', page.text)
    assert len(found) == 1 and page.text.count('aria-pressed="false"') == 2
    assert f'<html lang="{found[0]}">' in page.text
    return str(found[0])


def test_a_language_comes_from_the_link_else_the_cookie_else_the_browser(simulator: RunningSimulator) -> None:
    assert language_of(get(simulator)) == "en"
    assert language_of(get(simulator, accept="fr, es-MX;q=0.8, en;q=0.5")) == "es"
    for others in ("fr", "*", "hi-Latn-IN, es;q=0.5", "es;q=0", "en-IN, hi;q=0.9"):
        assert language_of(get(simulator, accept=others)) == "en"
    chosen = get(simulator, "/?language=hi", accept="es")
    assert language_of(chosen) == "hi" and "<title>फ़ोन</title>" in chosen.text
    assert "phones_language=hi; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly" in chosen.headers["Set-Cookie"]
    assert language_of(get(simulator, accept="es", phones_language="hi")) == "hi"
    assert language_of(get(simulator, "/?language=en", phones_language="hi")) == "en"
    for nonsense in ("/?language=xx", "/?language=", "/?language=hi%0d%0aSet-Cookie:a=b", "/?language=es.po"):
        page = get(simulator, nonsense, accept="es", phones_language="../hi")
        assert language_of(page) == "es" and "Set-Cookie" not in page.headers
    assert get(simulator, "/nowhere", accept="es").text == "No existe esa página"


def test_what_the_simulator_says_of_itself_is_in_the_pages_language(simulator: RunningSimulator, receiver: Receiver) -> None:
    def ask(method: str, path: str, language: str, **told: Any) -> Any:
        headers = {"Accept-Language": language} if language else {}
        return requests.request(method, f"{simulator.url}/_sim/{path}", json=told or None, headers=headers, timeout=10).json()

    simulator.client.configure(phones=[{"number": MEMBER, "line": SMS}])
    receiver.answer = lambda form: "no TwiML at all"
    simulator.client.text(MEMBER, SMS, "hello")
    said = {one: ask("GET", "phones?since=0", one)["phones"][0]["messages"][-1]["body"] for one in ("", "es", "hi")}
    assert said[""].startswith("The webhook failed (HTTP 200, Twilio error 12")
    assert said["es"].startswith("El webhook falló (HTTP 200, error 12") and said["hi"].startswith("webhook नहीं चला")
    assert said[""] in get(simulator, "/transcript.txt", accept="es", phones_language="es").text, "a saved file is always in English"
    assert ask("POST", "switches", "es", name="spam", often="three", to=MEMBER)["on"] == {"spam": f"Activado: 3 veces más, para {MEMBER}"}
    assert ask("POST", "switches", "hi", name="slow", seconds=2)["on"]["slow"] == "चालू: 2 सेकंड"
    assert ask("POST", "switches", "es", name="slow", seconds=-1)["error"] == "Los segundos son un número de 0 a 600"
    assert ask("GET", "clock", "es")["why"].startswith("Chorus no dice su hora")
    assert ask("POST", "text", "hi", **{"from": MEMBER, "to": "+", "body": "x"})["error"].startswith("ऐसी कोई लाइन नहीं")
    simulator.client.configure(phones=[f"+1555{n:07d}" for n in range(MOST_PHONES)])
    assert ask("POST", "phones", "es", number=MEMBER)["error"] == "se pueden mostrar 200 teléfonos como máximo"
