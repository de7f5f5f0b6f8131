"""The pages for everybody: what they promise is what the code keeps, in every language, and they tell nobody what is not public."""

from __future__ import annotations

import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import make_server

from bot.public import CHANGED, HEADERS, LANGUAGES, periods, say_period, way_to_join
from bot.upkeep import retention
from tests.conftest import make_settings, open_frozen
from tests.world import World

PAGES = ("about", "privacy", "terms", "missing", "away")
TEMPLATES = Path(__file__).parent.parent / "bot" / "public" / "templates" / "public"
CSS = Path(__file__).parent.parent / "bot" / "public" / "static" / "public.css"


def get(world: World, path: str, accept: str = "") -> tuple[int, str]:
    answer = world.client.get(path, headers={"Accept-Language": accept} if accept else {})
    return answer.status_code, answer.get_data(as_text=True)


def text_of(html: str) -> str:
    """What a reader sees, in one line."""
    html = re.sub(r"(?s)<(head|script).*?</\1>", " ", html)
    return " ".join(re.sub(r"<[^>]+>", "", html).replace("&amp;", "&").split())


# --- about ----------------------------------------------------------------------------------------------------------------


def test_about_says_how_to_join_on_each_line_and_what_it_means(small_world: World) -> None:
    small_world.collective(lines=("+15550001111", "whatsapp:+15550001112"), name="Sangha of Oakland")
    status, html = get(small_world, "/about/sangha")
    seen = text_of(html)
    assert status == 200
    assert "Sangha of Oakland" in seen and "we meet and act together." in seen
    assert "Text JOIN SANGHA to +1 555-000-1111." in seen
    assert 'href="sms:+15550001111?&amp;body=JOIN%20SANGHA"' in html
    assert "On WhatsApp, send JOIN SANGHA to +1 555-000-1112." in seen
    assert 'href="https://wa.me/15550001112?text=JOIN%20SANGHA"' in html
    for wanted in ("About 4 texts a week", "Msg & data rates may apply", "HELP", "STOP"):
        assert wanted in seen
    assert 'href="/privacy"' in html and 'href="/terms"' in html


def test_a_line_that_nobody_can_answer_is_no_way_to_join(small_world: World) -> None:
    small_world.line("+15550001113", two_way=False)
    small_world.collective(lines=("+15550001113", "MG" + "a" * 32, "55512"))
    _, html = get(small_world, "/about/sangha")
    assert "1113" not in html and "MGa" not in html
    assert "Text JOIN SANGHA to 55512." in text_of(html)
    assert way_to_join("MG" + "a" * 32, "sangha") is None


def test_without_any_number_it_says_whom_to_ask(small_world: World) -> None:
    small_world.collective(lines=("MG" + "a" * 32,))
    assert "Ask somebody in the group for it." in text_of(get(small_world, "/about/sangha")[1])


def test_a_word_is_read_as_it_is_texted(small_world: World) -> None:
    small_world.collective(word="एकता", name="एकता")
    small_world.collective(word="UNION", name="Unión")
    assert get(small_world, "/about/%E0%A4%8F%E0%A4%95%E0%A4%A4%E0%A4%BE")[0] == 200
    assert get(small_world, "/about/Uni%C3%B3n")[0] == 200


def test_a_word_that_is_not_public_is_answered_like_none(small_world: World) -> None:
    small_world.collective(word="SECRET", public=False)
    hidden = small_world.client.get("/about/secret")
    nothing = small_world.client.get("/about/nothing")
    assert hidden.status_code == nothing.status_code == 404
    assert hidden.data == nothing.data
    assert dict(hidden.headers) == dict(nothing.headers)
    assert b"secret" not in hidden.data.lower()


def test_what_organizers_wrote_is_inert(small_world: World) -> None:
    small_world.collective(name="<script>alert(1)</script>", about='"><img src=x onerror=alert(1)>')
    _, html = get(small_world, "/about/sangha")
    assert "<script" not in html and "<img src=x" not in html


def test_a_database_that_is_away_is_a_page(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    world = World(open_frozen(make_settings(sqlite_url)))
    world.collective()
    world.store.close()
    os.rename(path, path + ".away")
    os.mkdir(path)
    status, html = get(world, "/about/sangha")
    assert status == 503 and "try again" in text_of(html)


# --- privacy and terms ------------------------------------------------------------------------------------------------------


def test_the_periods_are_those_that_are_kept(small_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "7 days" in get(small_world, "/privacy")[1]
    monkeypatch.setattr(retention, "BODY_KEPT", timedelta(days=5))
    monkeypatch.setattr(retention, "CARE_BODY_KEPT", timedelta(hours=36))
    seen = text_of(get(small_world, "/privacy")[1])
    assert "what is sent to you: 5 days. Words of care (check-ins, talks with a peer): 36 hours" in seen


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_period_is_told_in_every_language(small_world: World, language: str) -> None:
    seen = text_of(get(small_world, f"/privacy?lang={language}")[1])
    for name, period in periods(language).items():
        assert period in seen, name


def test_what_carriers_look_for_is_there(small_world: World) -> None:
    privacy, terms = text_of(get(small_world, "/privacy")[1]), text_of(get(small_world, "/terms")[1])
    assert "No mobile information is shared with third parties or affiliates for marketing or promotional purposes." in privacy
    assert "Text messaging originator opt-in data and consent are not shared with any third party." in privacy
    assert "Twilio" in privacy and "400 days" in privacy and f"{CHANGED:%B} {CHANGED.day}, {CHANGED.year}" in privacy
    for wanted in ("Msg & data rates may apply", "About 4 texts a week", "HELP", "STOP", "not liable for delayed or undelivered messages"):
        assert wanted in terms


@pytest.mark.parametrize(("period", "said"), [
    (timedelta(days=1), "1 day"), (timedelta(hours=36), "36 hours"), (timedelta(minutes=10), "10 minutes"), (timedelta(weeks=2), "14 days"),
])  # fmt: skip
def test_a_period_in_words(period: timedelta, said: str) -> None:
    assert say_period(period, "en") == said


# --- languages --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "accept", "language"),
    [
        ("/terms", "", "en"),
        ("/terms", "es-MX,es;q=0.9,en;q=0.8", "es"),
        ("/terms", "hi-IN", "hi"),
        ("/terms", "fr,de;q=0.5", "en"),
        ("/terms?lang=hi", "es", "hi"),
        ("/terms?lang=hi-Latn", "fr", "en"),  # never Devanagari to who does not read it
        ("/terms?lang=<b>", "es", "es"),
    ],
)
def test_the_language_is_the_one_asked_for(small_world: World, path: str, accept: str, language: str) -> None:
    answer = small_world.client.get(path, headers={"Accept-Language": accept} if accept else {})
    assert f'<html lang="{language}">' in answer.get_data(as_text=True)
    assert answer.headers["Content-Language"] == language and "Accept-Language" in answer.headers["Vary"]


def test_links_keep_the_language_that_was_asked_for(small_world: World) -> None:
    small_world.collective()
    assert 'href="/privacy?lang=es"' in get(small_world, "/about/sangha?lang=es")[1]
    assert 'href="/privacy"' in get(small_world, "/about/sangha", "es")[1]
    assert 'href="/about/sangha?lang=hi"' in get(small_world, "/about/sangha")[1]


@pytest.mark.parametrize("which", PAGES)
def test_all_languages_say_the_same(which: str) -> None:
    """The same elements in the same order, the same words to text, the same values filled in."""
    shapes = {}
    for language in LANGUAGES:
        source = (TEMPLATES / f"{which}.{language}.html").read_text(encoding="utf-8")
        tags = re.findall(r"<(h1|h2|ul|li|p|a|strong)\b", source)
        values = sorted(value for value in re.findall(r"\{\{ *(.*?) *\}\}", source) if "changed" not in value)
        shapes[language] = (sorted(tags), values, sorted(re.findall(r"<kbd>(.*?)</kbd>", source)))
    for language in LANGUAGES:
        assert shapes[language] == shapes["en"], language


# --- what a browser gets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/about/sangha", "/about/nothing", "/privacy", "/terms"])
def test_nothing_from_elsewhere_and_nothing_that_runs(small_world: World, path: str) -> None:
    small_world.collective()
    answer = small_world.client.get(path)
    html = answer.get_data(as_text=True)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"] and "script" not in HEADERS["Content-Security-Policy"]
    assert not re.search(r"<script|<style|style=|\son\w+=|<form|<iframe", html)
    for link in re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', html):
        assert link.startswith("/public/static/"), link
        assert small_world.client.get(link).status_code == 200
    assert "Set-Cookie" not in answer.headers


def luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_has_enough_contrast(theme: int) -> None:
    colors = [dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", CSS.read_text(), re.DOTALL)][
        theme
    ]
    for text in ("ink", "quiet", "accent"):
        for ground in ("ground", "card"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    assert contrast(colors["on-accent"], colors["accent"]) >= 4.5


@pytest.mark.browser
def test_the_pages_fit_a_small_phone_and_a_wide_screen(small_world: World, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    small_world.collective(lines=("+15550001111", "whatsapp:+15550001112"), name="Oakland Tenants United for Fair Rent")
    server = make_server("127.0.0.1", 0, small_world.app, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    pictures = Path(os.environ.get("CHORUS_PICTURES") or tmp_path)
    problems: list[str] = []
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        for width, scheme in ((360, "dark"), (360, "light"), (1280, "light")):
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda message: problems.append(message.text))
            for path in ("about/sangha", "privacy", "terms"):
                for language in LANGUAGES:
                    page.goto(f"http://127.0.0.1:{server.port}/{path}?lang={language}")
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, language)
                    for height in page.locator("main a.button, .languages a").evaluate_all(
                        "all => all.map(a => a.getBoundingClientRect().height)"
                    ):
                        assert height >= 40, f"{path}: a finger needs more room"
                    page.screenshot(path=pictures / f"{path.partition('/')[0]}-{language}-{width}-{scheme}.png", full_page=True)
            page.close()
        browser.close()
    server.shutdown()
    server.server_close()
    assert problems == []
