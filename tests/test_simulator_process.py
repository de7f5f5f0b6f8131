"""The pretend carrier's process, its control paths, and the phones in the browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from bot.simulator.client import RunningSimulator, SimulatorRefused, start_simulator
from bot.simulator.ledger import Ledger, Message
from tests.carrier import MEMBER, SMS, TOKEN, WHATSAPP, Receiver, Rerouted, refused, twiml


def test_control_requests_are_checked(simulator: RunningSimulator) -> None:
    foreign = requests.post(f"{simulator.url}/_sim/reset", headers={"Origin": "https://evil.example"}, timeout=5)
    assert foreign.status_code == 403
    form = requests.post(f"{simulator.url}/_sim/text", data={"from": MEMBER}, timeout=5)
    assert form.status_code == 415
    for told in ({"throttle": 1}, {"accept_hang": {"seconds": 3}}, {"receipts": {"lost": True}}, {"refuse": {MEMBER: 7}}):
        with pytest.raises(SimulatorRefused):
            simulator.client.faults(**told)
    with pytest.raises(SimulatorRefused, match="no such line"):
        simulator.client.text(MEMBER, "+15559990000", "hello")
    with pytest.raises(SimulatorRefused, match="has no colour"):
        simulator.client.configure(lines=[{"address": SMS, "colour": "red"}])
    assert requests.get(f"{simulator.url}/_sim/nothing", timeout=5).status_code == 404


def test_the_ledger_is_bounded_and_pages() -> None:
    ledger = Ledger(limit=3)
    for place in range(5):
        ledger.add(Message(f"SM{place}", "api", MEMBER, MEMBER, SMS, str(place), 1, "queued"))
    assert [message.body for message in ledger.entries()] == ["2", "3", "4"]
    assert [message.body for message in ledger.entries(since=4, phone=MEMBER)] == ["4"]
    assert set(ledger.by_sid) == {"SM2", "SM3", "SM4"} and ledger.accepted == 5


def test_it_ends_at_once_although_someone_hangs(receiver: Receiver) -> None:
    simulator = start_simulator(webhook_base=receiver.url, token=TOKEN)
    simulator.client.faults(accept_hang=60)
    twilio = Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))
    outcome: list[BaseException] = []

    def create() -> None:
        try:
            twilio.messages.create(to=MEMBER, from_=SMS, body="x")
        except (requests.RequestException, TwilioRestException) as error:
            outcome.append(error)

    hanging = threading.Thread(target=create)
    hanging.start()
    simulator.client.wait_for(lambda: simulator.client.count() == 1)
    simulator.process.send_signal(signal.SIGTERM)
    assert simulator.process.wait(5) == 0
    hanging.join(5)
    assert not hanging.is_alive()
    simulator.stop()


def test_it_ends_with_whoever_started_it() -> None:
    simulator = start_simulator()
    assert simulator.process.stdin is not None
    simulator.process.stdin.close()
    assert simulator.process.wait(5) == 0
    simulator.process.stdin = None
    simulator.stop()


def test_a_wrong_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "simulator.json"
    config.write_text('{"lines": [{"address": "nonsense-address"}]}')
    command = [sys.executable, "-m", "bot.simulator", "--port", "0", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == 2
    assert "address" in ended.stderr


# --- the page ---


def test_the_page_is_inert_and_loads_only_its_own_files(simulator: RunningSimulator) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "name": "<script>alert(1)</script>", "line": SMS}])
    page = requests.get(simulator.url + "/", timeout=5)
    assert "<title>Phones</title>" in page.text
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "style=" not in page.text and "onclick" not in page.text
    for file in ("/static/phones.js", "/static/phones.css", "/favicon.ico"):
        assert requests.get(simulator.url + file, timeout=5).status_code == 200
    assert requests.get(simulator.url + "/static/../page.py", timeout=5).status_code == 404
    assert "innerHTML" not in requests.get(simulator.url + "/static/phones.js", timeout=5).text


@pytest.mark.browser
def test_anyone_can_text_from_a_phone_and_sees_the_answer(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> None:
    from playwright.sync_api import expect, sync_playwright

    receiver.answer = lambda form: twiml("You wrote &lt;b&gt;" + form["Body"].replace("<", "&lt;"))
    phones = [{"number": MEMBER, "name": "Asha", "line": SMS}, {"number": "+15550004444", "name": "River", "role": "survivor", "line": SMS}]
    simulator.client.configure(phones=phones)
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
        page.get_by_label("Number").fill("+15550005555")
        page.get_by_label("Name on the page").fill("Sam")
        page.get_by_label("Texts to").last.select_option(WHATSAPP)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator('.phone.whatsapp[data-number="+15550005555"]')).to_be_visible()
        page.get_by_role("button", name="Carrier faults").click()
        page.get_by_role("button", name="Switch on").click()
        expect(page.locator("#fault-list")).to_contain_text("too many requests, 1 more")
        browser.close()
    assert refused(twilio).status == 429
    assert problems == []
