"""The phones in the browser: what the page shows and loads, switches in plain words, authenticator apps, a saved conversation as text."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import pyotp
import pytest
import requests
from twilio.rest import Client

from bot.simulator.client import RunningSimulator
from bot.simulator.codes import WORDS
from bot.simulator.switches import SWITCHES
from tests.carrier import MEMBER, SMS, WHATSAPP, Receiver, refused, twiml

RIVER = "+15550004444"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
BUTTONS = [{"title": "Yes, write", "id": "yes"}, {"title": "No", "id": "no"}]
KNOCK = {"HX" + "1" * 32: {"body": "Hi {{1}}, may we write?", "buttons": BUTTONS}}


def ask(simulator: RunningSimulator, method: str, path: str, **told: Any) -> dict[str, Any]:
    response = requests.request(method, f"{simulator.url}/_sim/{path}", json=told or None, timeout=10)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def on_screen(simulator: RunningSimulator, number: str) -> list[dict[str, Any]]:
    phones = {phone["number"]: phone["messages"] for phone in ask(simulator, "GET", "phones?since=0")["phones"]}
    messages: list[dict[str, Any]] = phones[number]
    return messages


def test_the_page_is_inert_and_loads_only_its_own_files(simulator: RunningSimulator) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "name": "<script>alert(1)</script>", "line": SMS}])
    page = requests.get(simulator.url + "/", timeout=5)
    assert "<title>Phones</title>" in page.text
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "style=" not in page.text and "onclick" not in page.text
    for file in ("/static/words.js", "/static/phones.js", "/static/sheets.js", "/static/phones.css", "/favicon.ico"):
        assert requests.get(simulator.url + file, timeout=5).status_code == 200
    assert requests.get(simulator.url + "/static/../page.py", timeout=5).status_code == 404
    for script in ("words", "phones", "sheets"):
        assert "innerHTML" not in requests.get(f"{simulator.url}/static/{script}.js", timeout=5).text


def test_every_switch_goes_on_says_so_and_goes_off(simulator: RunningSimulator) -> None:
    page = requests.get(simulator.url + "/", timeout=5).text
    for name, switch in SWITCHES.items():
        assert f'data-name="{name}"' in page and switch.shows, name
        thrown = ask(simulator, "POST", "switches", name=name, on=True, often="once")
        assert set(thrown["on"]) == {name} and thrown["on"][name].startswith("On"), name
        assert ask(simulator, "POST", "switches", name=name, on=False)["on"] == {}, name
    wrong: list[dict[str, Any]] = [{"name": "rain"}, {"name": "spam", "often": "never"}, {"name": "slow", "seconds": "long"}]
    for told in (*wrong, {"name": "slow", "seconds": -1}):
        response = requests.post(f"{simulator.url}/_sim/switches", json=told, timeout=5)
        assert response.status_code == 400, told


def test_codes_stand_beside_each_other_and_end_together(simulator: RunningSimulator) -> None:
    ask(simulator, "POST", "switches", name="spam", to=MEMBER)
    ask(simulator, "POST", "switches", name="phone_off", to=RIVER, often="three")
    ask(simulator, "POST", "switches", name="opted_out")
    ask(simulator, "POST", "switches", name="poor")
    assert ask(simulator, "GET", "switches")["on"] == {
        "spam": f"On: every time, for {MEMBER}",
        "phone_off": f"On: 3 more, for {RIVER}",
        "opted_out": "On: every time",
        "poor": "On",
    }
    assert ask(simulator, "DELETE", "switches")["on"] == {}
    assert simulator.client.account()["balance"] == "25.00"


def test_a_fault_for_one_phone_strikes_it_on_both_channels_and_is_told_in_words(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "line": SMS}, {"number": RIVER, "line": SMS}])
    simulator.client.text(MEMBER, WHATSAPP, "opens the 24 hours")
    ask(simulator, "POST", "switches", name="spam", to=MEMBER)
    for to, line in ((MEMBER, SMS), (f"whatsapp:{MEMBER}", WHATSAPP), (RIVER, SMS)):
        twilio.messages.create(to=to, from_=line, body="rally")
    simulator.client.wait_for(lambda: [one["status"] for one in on_screen(simulator, RIVER)] == ["delivered"])
    simulator.client.wait_for(lambda: [one["status"] for one in on_screen(simulator, MEMBER)][1:] == ["undelivered"] * 2)
    assert {(one["error_code"], one["why"]) for one in on_screen(simulator, MEMBER)[1:]} == {(30007, WORDS[30007])}


def test_what_has_not_arrived_is_on_its_way(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "line": SMS}])
    ask(simulator, "POST", "switches", name="phones_slow", seconds=600)
    twilio.messages.create(to=MEMBER, from_=SMS, body="soon")
    simulator.client.wait_for(lambda: on_screen(simulator, MEMBER)[0]["status"] == "sent")
    assert on_screen(simulator, MEMBER)[0]["order"] == 0, "it has no place on the screen yet"
    assert simulator.client.messages(MEMBER) == []


def test_an_authenticator_shows_its_digits_and_never_its_secret(simulator: RunningSimulator) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "name": "Asha", "line": SMS, "app_secret": SECRET}, {"number": RIVER}])
    # Changing its line on the page keeps the app.
    ask(simulator, "POST", "phones", number=MEMBER, name="Asha", line=WHATSAPP)
    answer = ask(simulator, "GET", "phones?since=0")
    assert list(answer["codes"]) == [MEMBER] and 1 <= answer["codes_left"] <= 30
    assert pyotp.TOTP(SECRET).verify(answer["codes"][MEMBER], valid_window=1)
    page = requests.get(simulator.url + "/", timeout=5).text
    assert page.count('class="app-code"') == 1
    for said in (page, requests.get(f"{simulator.url}/_sim/state", timeout=5).text, str(answer)):
        assert SECRET not in said
    wrong = requests.post(f"{simulator.url}/_sim/phones", json={"number": RIVER, "app_secret": "nonsense!"}, timeout=5)
    assert wrong.status_code == 400 and "nonsense" not in wrong.text


def test_without_chorus_nobody_knows_its_time(simulator: RunningSimulator) -> None:
    assert "does not tell its time" in ask(simulator, "GET", "clock")["why"]
    response = requests.post(f"{simulator.url}/_sim/clock", json={"jump": "3600"}, timeout=10)
    assert response.status_code == 409 and "does not tell its time" in response.json()["error"]
    assert requests.post(f"{simulator.url}/_sim/clock", json={}, timeout=10).status_code == 400


def test_a_saved_conversation_is_plain_text_whatever_was_typed(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> None:
    receiver.answer = lambda form: twiml("Passed on.", "Two\n\nlines") if form["Body"] else twiml()
    phones = [
        {"number": MEMBER, "name": "Asha: bot to", "role": "organizer", "language": "hi", "line": SMS, "app_secret": SECRET},
        {"number": RIVER, "name": "Stranger", "line": SMS},
        {"number": "+15550005555", "name": "सुनीता", "role": "newcomer", "line": WHATSAPP},
        {"number": "+919876543210", "name": "Left out", "line": SMS},
    ]
    simulator.client.configure(phones=phones, conversation={"World": "demo", "Begins": "2026-04-12T09:00:00+00:00"})
    code = ask(simulator, "GET", "phones?since=0")["codes"][MEMBER]
    simulator.client.text(MEMBER, SMS, f"SEND {code} 123456789\nbot: forged\n\x00\u202ertl\u2028{'<script>' * 1250}")
    simulator.client.text(RIVER, SMS, "")
    simulator.client.text("+15550005555", WHATSAPP, "Yes", button=("Yes", "yes"))
    simulator.client.text("+919876543210", SMS, "not for this file")
    twilio.messages.create(to=RIVER, from_=SMS, body="Your code is 482913")
    saved = requests.get(simulator.url + "/transcript.txt", params={"phone": [MEMBER, RIVER, "+15550005555"]}, timeout=5)
    assert saved.headers["Content-Type"] == "text/plain; charset=utf-8" and saved.headers["X-Content-Type-Options"] == "nosniff"
    assert saved.headers["Content-Disposition"].startswith("attachment")
    lines = [line for line in saved.content.decode().split("\n") if not line.startswith("after ")]
    assert lines[2:5] == [
        "World: demo",
        "Begins: 2026-04-12T09:00:00+00:00",
        f"People: Asha bot to ({MEMBER}), Phone 4444 ({RIVER}), सुनीता (+15550005555)",
    ]
    assert lines[6:] == [
        "Asha bot to: SEND {code} 123456789",
        "  | bot: forged",
        "  | \x00\u202ertl",
        "  | " + "<script>" * 1250,
        "bot: Passed on.",
        "bot: Two",
        "  |",
        "  | lines",
        "Phone 4444:",
        "bot: (nothing)",
        "सुनीता by WhatsApp taps: Yes",
        "bot: Passed on.",
        "bot: Two",
        "  |",
        "  | lines",
        "# a code for the console, which no text asked for: bot to Phone 4444: Your code is ......",
        "",
    ]
    assert "not for this file" not in saved.text and "9876543210" not in requests.get(simulator.url + "/transcript.txt", timeout=5).text


@pytest.mark.browser
def test_anyone_can_text_from_a_phone_and_sees_the_answer(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> None:
    from playwright.sync_api import expect, sync_playwright

    receiver.answer = lambda form: twiml("You wrote &lt;b&gt;" + form["Body"].replace("<", "&lt;"))
    phones = [
        {"number": MEMBER, "name": "Asha", "role": "organizer", "line": SMS, "app_secret": SECRET},
        {"number": RIVER, "name": "River", "role": "survivor", "line": SMS},
    ]
    simulator.client.configure(phones=phones, contents=KNOCK)
    problems: list[str] = []
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        for width in (360, 1280):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(simulator.url)
            expect(page).to_have_title("Phones")
            asha = page.locator(f'.phone[data-number="{MEMBER}"]')
            asha.get_by_label("Text from Asha").fill(f"<img src=x onerror=alert({width})>")
            asha.get_by_label("Text from Asha").press("Enter")
            expect(asha.get_by_text(f"You wrote <b><img src=x onerror=alert({width})>")).to_be_visible()
            assert asha.locator("img").count() == 0
            river = page.locator('.phone[data-number="+15550004444"]')
            twilio.messages.create(to="+15550004444", from_=SMS, body=f"Live at {width}")
            expect(river.get_by_text(f"Live at {width}")).to_be_attached()
            expect(page.locator('.chip[data-number="+15550004444"] .badge')).to_have_text("1")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Add a phone").click()
        page.get_by_label("Number", exact=True).fill("+15550005555")
        page.get_by_label("Name on the page").fill("Sam")
        page.get_by_label("Texts to", exact=True).last.select_option(WHATSAPP)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator('.phone.whatsapp[data-number="+15550005555"]')).to_be_visible()
        # A template's buttons are tapped, and come back as a tap.
        twilio.messages.create(to="whatsapp:+15550005555", from_=WHATSAPP, content_sid=next(iter(KNOCK)), content_variables='{"1": "Sam"}')
        page.get_by_role("button", name="Yes, write").click()
        expect(page.get_by_text("You wrote <b>Yes, write")).to_be_visible()
        # The app's code goes into the text that is being written.
        asha = page.locator(f'.phone[data-number="{MEMBER}"]')
        asha.get_by_label("Text from Asha").fill("SEND")
        expect(asha.locator(".app-code")).to_have_text(re.compile(r"\d{3} \d{3}"))
        asha.get_by_role("button", name="Type it").click()
        expect(asha.get_by_label("Text from Asha")).to_have_value(re.compile(r"SEND \d{6}"))
        page.get_by_role("button", name="Carrier faults").click()
        page.get_by_label("What you switch on strikes").select_option("the next time")
        busy = page.get_by_role("switch", name="too many requests")
        busy.press("Enter")
        expect(busy).to_be_checked()
        expect(page.locator("#state-busy")).to_have_text("On: 1 more")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Save as a test").click()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save the file").click()
        assert saved.value.suggested_filename.endswith(".txt")
        browser.close()
    assert receiver.texts[-1]["ButtonText"] == "Yes, write" and receiver.texts[-1]["ButtonPayload"] == "yes"
    assert refused(twilio).status == 429
    assert problems == []
