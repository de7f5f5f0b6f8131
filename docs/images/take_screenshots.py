"""Take the pictures of the README from a running demo that nobody has used yet.

    CHORUS_HOME=/tmp/chorus-pictures PORT=8300 make demo                      in one terminal
    .venv/bin/python -m docs.images.take_screenshots --port 8300              in another, with what `make test` installed

It holds the conversation of the README's walk by texting through the simulator's client, and photographs the phones with Chromium
(CHROMIUM names the program, if it is not on the PATH). Then it logs in to the console as Asha, reads in a list of neighbours so that a
text takes half a minute to leave, writes one, lets Miguel say yes from his phone, and photographs the console on the way.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from bot.simulator.client import SimulatorClient

HERE = Path(__file__).parent
SMS = "+15550001111"

NEWCOMER, ASHA, MIGUEL, GRACE = "+15550005001", "+15550002222", "+15550002223", "+15550002224"
LUCIA, SUNITA, NOOR = "+15550004002", "+15550004003", "+15550004004"
# Enough of them that their text takes half a minute to leave, at ten a second.
NEIGHBOURS = 280
HALF_WAY = r"""() => {
    const found = /(\d+) of (\d+) have left/.exec(document.body.innerText);
    return found && found[1] / found[2] > 0.45;
}"""
ASSEMBLY = {
    "text_en": "Assembly on Saturday at 5pm in the library. Children are welcome, and there is soup.",
    "text_es": "Asamblea el sabado a las 5pm en la biblioteca. Hay sopa, y se puede venir con hijos.",
    "text_hi": "सभा शनिवार शाम 5 बजे, पुस्तकालय में। बच्चे भी आएँ।",
}


class Walk:
    """The conversation of the README's walk. Each text waits for what it is an answer to."""

    def __init__(self, client: SimulatorClient) -> None:
        self.client = client

    def says(self, who: str, text: str) -> None:
        """Text, and see that it was taken."""
        reply = self.client.text(who, SMS, text)
        assert reply.status == 200, f"the webhook answered {reply.status}; does the demo's web process run?"

    def reads(self, who: str, pattern: str) -> re.Match[str]:
        """Wait until a text like this has arrived on the phone."""
        looked_for = re.compile(pattern)

        def find() -> re.Match[str] | None:
            return next((found for body in self.client.received(who) if (found := looked_for.search(body))), None)

        found = self.client.wait_for(find, timeout=60.0)
        assert found is not None
        return found

    def join_and_vote(self) -> None:
        self.says(NEWCOMER, "JOIN SANGHA")
        self.says(NEWCOMER, "Rosa")
        for who, invitations in ((LUCIA, ("Marcha", "A La biblioteca")), (SUNITA, ("रैली", "A पुस्तकालय"))):
            for invitation in invitations:
                self.reads(who, invitation)
        self.says(LUCIA, "sí")
        self.says(LUCIA, "b")
        self.says(SUNITA, "हाँ")
        self.says(SUNITA, "A")

    def have_a_hard_day(self) -> None:
        self.reads(NOOR, "Rally")
        self.reads(NOOR, "how are you")
        self.says(NOOR, "2")
        self.says(NOOR, "yes")
        self.says(NOOR, "after 6, not before")
        number = self.reads(GRACE, r"REPLY (\d+)")[1]
        self.says(GRACE, f"REPLY {number} I am here at six. You are not alone.")
        self.reads(NOOR, "You are not alone")

    def call_to_an_action(self) -> None:
        self.says(ASHA, "ALERT Rally today 5pm, Gandhi Chowk. Bring water.")
        self.says(ASHA, "HI रैली आज शाम 5 बजे, गांधी चौक। पानी लाएँ।")
        self.says(ASHA, "ES Marcha hoy 5pm, Gandhi Chowk. Traiga agua.")
        # Each change took a new number: the page with the last words has the one that counts.
        number = self.reads(MIGUEL, r"(?s)Marcha hoy.*OK (\d+)")[1]
        self.says(MIGUEL, f"OK {number}")

    def answer_it(self) -> None:
        for who, invitation in ((NEWCOMER, "Rally today"), (LUCIA, "Marcha hoy"), (SUNITA, "आज शाम"), (ASHA, "Rally today.*\nComing")):
            self.reads(who, invitation)
        self.says(NEWCOMER, "yes")
        self.says(SUNITA, "हाँ")
        self.says(LUCIA, "tal vez")
        self.says(ASHA, "STATUS")


def photograph(browser: Browser, url: str, file: str, phones: Sequence[str]) -> None:
    """One picture of these phones side by side, as the page shows them."""
    width = 40 + 314 * len(phones)
    page = browser.new_page(viewport={"width": width, "height": 790}, device_scale_factor=1.5, color_scheme="light")
    page.goto(url)
    page.locator("#live.on").wait_for()
    for number in phones:
        page.locator(f'.phone[data-number="{number}"] .bubble').first.wait_for()
    page.evaluate(
        """shown => {
            document.querySelector(".strip").hidden = true;
            const desk = document.querySelector("#desk");
            for (const phone of desk.querySelectorAll(".phone")) phone.hidden = !shown.includes(phone.dataset.number);
            for (const number of shown) desk.append(desk.querySelector(`[data-number="${CSS.escape(number)}"]`));
            for (const screen of desk.querySelectorAll(".screen")) screen.scrollTop = screen.scrollHeight;
        }""",
        list(phones),
    )
    last = page.locator(f'.phone[data-number="{phones[-1]}"]').bounding_box()
    assert last is not None
    below = last["y"] + last["height"] + 22
    page.screenshot(path=HERE / file, animations="disabled", clip={"x": 0, "y": 0, "width": width, "height": below})
    page.close()


class Console:
    """The organizers' pages, as Asha sees them."""

    def __init__(self, browser: Browser, walk: Walk, address: str) -> None:
        self.walk, self.address = walk, address
        context = browser.new_context(
            viewport={"width": 1100, "height": 700}, device_scale_factor=1.5, color_scheme="light", reduced_motion="reduce"
        )
        self.page: Page = context.new_page()

    def go(self, path: str) -> None:
        self.page.goto(f"{self.address}/console/{path}")

    def press(self, name: str) -> None:
        self.page.locator("main").get_by_role("button", name=name).first.click()

    def log_in(self) -> None:
        self.go("login")
        self.page.locator("input[name=number]").fill(ASHA)
        self.page.locator("main form button").first.click()
        self.page.locator("input[name=code]").fill(self.walk.reads(ASHA, r"code.*?(\d{6})")[1])
        self.page.locator("main form button").first.click()
        self.page.wait_for_url("**/console/sangha/")

    def read_in_neighbours(self) -> None:
        rows = "".join(f"+1555010{number:04d},,{('en', 'es', 'hi')[number % 3]}\n" for number in range(NEIGHBOURS))
        self.go("sangha/members/import")
        self.page.locator("input[type=file]").set_input_files(
            {"name": "neighbours.csv", "mimeType": "text/csv", "buffer": f"phone,name,language\n{rows}".encode()}
        )
        self.page.locator("input[name=how]").fill("signed the paper list at the meeting of 3 April")
        self.press("Show what will happen")
        self.press("Read in this list")
        self.page.get_by_role("status").wait_for()

    def write(self) -> None:
        """Write a text; the picture is of the form before it is kept."""
        self.go("sangha/compose")
        for name, words in ASSEMBLY.items():
            field = self.page.locator(f"[name={name}]")
            if not field.is_visible():
                self.page.locator(f"details:has([name={name}]) > summary").click()
            field.press_sequentially(words)
        self.page.get_by_text("UCS-2").first.wait_for()
        self.page.wait_for_timeout(1_500)  # the phone beside it is drawn anew when she pauses
        self.photograph("console-compose.png", height=1000)
        self.press("Keep it, and go on")

    def let_it_go(self) -> None:
        """Miguel, who has read it on his own phone, says yes; the picture is of the text half way."""
        found = re.search(r"/broadcasts/(\d+)", self.page.url)
        assert found is not None
        self.walk.says(MIGUEL, f"OK {found[1]}")
        self.page.wait_for_function(HALF_WAY, timeout=120_000)
        self.photograph("console-progress.png", height=640)

    def photograph(self, file: str, *, height: int = 700, width: int = 1100, dark: bool = False) -> None:
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        self.page.screenshot(path=HERE / file, animations="disabled")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, default=8000, help="the demo's PORT (its phones are on the next one)")
    port = options.parse_args().port
    phones = f"http://127.0.0.1:{port + 1}/"
    walk = Walk(SimulatorClient(phones))
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        walk.join_and_vote()
        walk.have_a_hard_day()
        photograph(browser, phones, "care.png", [NOOR, GRACE])
        walk.call_to_an_action()
        photograph(browser, phones, "two-organizers.png", [ASHA, MIGUEL])
        walk.answer_it()
        photograph(browser, phones, "phones.png", [NEWCOMER, ASHA, LUCIA, SUNITA])
        page = browser.new_page(viewport={"width": 900, "height": 900}, device_scale_factor=1.5, color_scheme="light")
        page.goto(f"http://127.0.0.1:{port}/console/")
        page.screenshot(path=HERE / "status.png", full_page=True)
        page.close()
        walk.says(LUCIA, "¿A que hora es la asamblea?")
        console = Console(browser, walk, f"http://127.0.0.1:{port}")
        console.log_in()
        console.read_in_neighbours()
        console.write()
        console.let_it_go()
        console.go("sangha/")
        console.photograph("console-home.png", height=900)
        console.photograph("console-home-phone.png", width=390, height=844, dark=True)
        browser.close()


if __name__ == "__main__":
    main()
