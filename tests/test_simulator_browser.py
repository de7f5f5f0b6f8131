"""The page of the phones in a real Chromium: three languages, at 360 and 1280 pixels, in light and dark, with each of its sheets open.

No error in the browser's console, nothing that axe-core finds, nothing that scrolls sideways or is cut off, and in Hindi no word of the
page's own that is in another script.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from twilio.rest import Client

from bot.inbound import jumps
from bot.simulator.client import RunningSimulator
from bot.simulator.switches import SWITCHES
from bot.simulator.words import LANGUAGES, NAMES, count, say
from tests.carrier import MEMBER, SMS, WHATSAPP, Receiver, twiml
from tests.test_console_browser import AXE, LOOK_AT_FOCUS, NARROW, RUN_AXE, WIDE
from tests.test_simulator_words import latin

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

RIVER, SUNITA = "+15550004444", "+15550005555"
PHONES = [
    {"number": MEMBER, "name": "आशा", "role": "organizer", "line": SMS, "app_secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"},
    {"number": RIVER, "name": "नदी", "role": "survivor", "line": SMS},
    {"number": SUNITA, "name": "सुनीता", "role": "newcomer", "line": WHATSAPP},
]
SHEETS = ("faults", "clock", "save", "add")
# What does not fit its place, on the page or in the open sheet. Phones beside the first, and the row of names, may be scrolled to;
# a phone's name may end in three dots.
FIND_CUT = """() => {
    const sheet = document.querySelector("dialog[open]");
    const found = [];
    const seen = sheet ? sheet.querySelectorAll("*") : document.querySelectorAll(".bar *, .phone:first-child *");
    for (const each of seen) {
        if (!each.checkVisibility() || each.matches(".visually-hidden")) continue;
        const box = each.getBoundingClientRect();
        const place = each.closest("dialog, .phone, .bar").getBoundingClientRect();
        const what = each.outerHTML.slice(0, 120);
        if (box.right > place.right + 1 || box.left < place.left - 1) found.push(`outside: ${what}`);
        const cuts = each.matches("button") || getComputedStyle(each).overflowX !== "visible";
        if (cuts && !each.matches("h2, textarea, select, input") && each.scrollWidth > each.clientWidth + 1) found.push(`cut off: ${what}`);
    }
    const wide = document.documentElement.scrollWidth;
    if (wide > innerWidth) found.push(`the page scrolls sideways, to ${wide}`);
    return found;
}"""
# Everything that is written, also for a screen reader; members' texts, lines and the names of languages are not the page's own.
READ_WORDS = """() => {
    const copy = document.body.cloneNode(true);
    const others = ".bubble .words, .tap, .medium, .line option, [name=line] option, .languages button, script, noscript";
    for (const each of copy.querySelectorAll(others)) each.remove();
    const said = [document.title, copy.textContent];
    for (const each of copy.querySelectorAll("*"))
        for (const name of ["aria-label", "title", "placeholder"]) if (each.hasAttribute(name)) said.push(each.getAttribute(name));
    return said.join(" | ");
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture
def lived(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> RunningSimulator:
    """Phones on which everything has happened: texts and answers, one that failed, one on its way, a webhook that failed, faults."""
    receiver.answer = lambda form: twiml("Thank you.") if form["Body"] == "hello" else "no TwiML at all"
    content = {"HX" + "1" * 32: {"body": "May we write?", "buttons": [{"title": "Yes", "id": "yes"}]}}
    simulator.client.configure(phones=PHONES, contents=content)
    simulator.client.text(MEMBER, SMS, "hello")
    simulator.client.text(MEMBER, SMS, "")
    simulator.client.text(RIVER, SMS, "STOP")
    twilio.messages.create(to=f"whatsapp:{SUNITA}", from_=WHATSAPP, content_sid=next(iter(content)))
    simulator.client.faults(receipts={"final": {"*": 30003}})
    twilio.messages.create(to=MEMBER, from_=SMS, body="rally")
    simulator.client.wait_for(lambda: any(one["status"] == "undelivered" for one in simulator.client.messages(MEMBER)))
    simulator.client.faults(
        latency_ms=3000, receipts={"delivered_ms": 600_000, "drop": {"share": 0.1}, "final": {MEMBER: {"code": 30007, "count": 3}}}
    )
    twilio.messages.create(to=MEMBER, from_=SMS, body="soon")
    simulator.client.account(trial=True)
    return simulator


def tell_time(route: Route) -> None:
    """What the simulator answers when there is a Chorus: a day ahead, with something due."""
    now = datetime.now(UTC)
    what = say(route.request.headers["accept-language"], jumps.WAITING)
    due = {"at": (now + timedelta(days=2, hours=3)).isoformat(), "what": what}
    route.fulfill(json={"now": now.isoformat(), "zone": "Asia/Kolkata", "ahead": 97_200, "next": due})


def open_page(browser: Browser, url: str, width: int, problems: list[str], *, language: str, has_clock: bool = True) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="light", reduced_motion="reduce", locale=language)
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    if has_clock:
        page.route("**/_sim/clock", tell_time)
    page.goto(url)
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator("#live.on")).to_be_visible()
    expect(page.locator("#fault-count")).to_have_text("5")
    return page


def look(page: Page, where: str, problems: list[str]) -> None:
    for problem in page.evaluate(FIND_CUT):
        problems.append(f"{where}: {problem}")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    problems += [f"{where}: {each}" for each in page.evaluate(RUN_AXE, None)]
    page.emulate_media(color_scheme="dark")
    problems += [f"{where} in the dark: {each}" for each in page.evaluate(RUN_AXE, ["color-contrast"])]
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("width", [NARROW, WIDE])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_and_each_sheet_in_every_language(chromium: Browser, lived: RunningSimulator, language: str, width: int) -> None:
    problems: list[str] = []
    page = open_page(chromium, f"{lived.url}/?language={language}", width, problems, language=language)
    own = partial(say, language)
    asha = page.locator(f'.phone[data-number="{MEMBER}"]')
    expect(asha.locator(".why")).to_contain_text(f"{own('Not delivered')}: {own('the phone is off or out of reach')} (30003)")
    failed = own("The webhook failed (HTTP {status}, Twilio error {error})", status=200, error=12100)
    expect(asha.locator(".note")).to_have_text(failed)
    expect(asha.locator(".coming")).to_contain_text(count(language, "1 text sent, not confirmed", "", 1))
    expect(asha.locator(".divider").first).to_have_text(f"{own('Today')} · SMS")
    expect(asha.get_by_role("img", name=own("Chorus has it"))).to_be_visible()
    expect(page.locator("#hour")).to_contain_text({"en": "1 day 3 hours", "es": "1 día 3 horas", "hi": "1 दिन 3 घंटे"}[language])
    look(page, "the page", problems)
    page.keyboard.press("Tab")
    problems += page.evaluate(LOOK_AT_FOCUS)
    for name in SHEETS:
        page.locator(f"#open-{name}").click()
        expect(page.locator(f"#{name}")).to_be_visible()
        if name == "faults":
            expect(page.locator("#state-slow")).to_have_text(own("On: {seconds} s", seconds=3))
            expect(page.get_by_role("switch", name=own(SWITCHES["spam"].words), exact=True)).to_be_checked()
        look(page, name, problems)
        page.keyboard.press("Escape")
    if language == "hi":
        foreign = latin(page.evaluate(READ_WORDS)) - {"Asia", "Kolkata"}
        assert not foreign, "not in Hindi"
    page.close()
    assert not problems, "\n".join(problems)


def test_the_language_is_chosen_with_a_button_and_remembered(chromium: Browser, lived: RunningSimulator) -> None:
    problems: list[str] = []
    page = open_page(chromium, lived.url, WIDE, problems, language="es")  # as the browser says
    page.get_by_role("button", name=NAMES["hi"]).click()
    expect(page.locator("html")).to_have_attribute("lang", "hi")
    expect(page.get_by_role("button", name=NAMES["hi"])).to_have_attribute("aria-pressed", "true")
    page.goto(lived.url)
    expect(page).to_have_title("फ़ोन")
    # A phone added in Hindi has its role, whatever the role is called.
    page.locator("#open-add").click()
    page.locator("#add-number").fill("+15550006666")
    page.locator("#add-role").select_option(say("hi", "supporter"))
    page.locator("#add-form").get_by_role("button", name=say("hi", "Add")).click()
    expect(page.locator('.phone[data-number="+15550006666"]')).to_have_attribute("data-role", "supporter")
    page.close()
    assert problems == []


def test_what_goes_wrong_is_said_in_the_pages_language(chromium: Browser, lived: RunningSimulator) -> None:
    page = open_page(chromium, f"{lived.url}/?language=es", NARROW, [], language="es", has_clock=False)
    page.locator("#open-clock").click()
    expect(page.locator("#clock-now")).to_contain_text("Chorus no dice su hora")
    page.locator('[data-jump="3600"]').click()
    expect(page.locator("#clock .problem")).to_contain_text("Chorus no dice su hora")
    page.keyboard.press("Escape")
    page.locator("#open-faults").click()
    page.locator("#amount-late").fill("700")
    page.locator('[data-name="late"] .toggle').click()
    expect(page.locator("#faults .problem")).to_have_text("Los segundos son un número de 0 a 600")
    page.route("**/_sim/**", lambda route: route.abort())
    page.locator("#clear-faults").click()
    expect(page.locator("#faults .problem")).to_have_text("El simulador no contesta")
    expect(page.locator("#live-words")).to_have_text("El simulador no contesta")
    page.close()
