"""Every page of the console in a real Chromium, as each role, at 360 and 1280 pixels, in light and dark and in three languages.

No error in the browser's console, nothing that the policy had to stop, no violation that axe-core finds (WCAG 2.2 A and AA), no page that
scrolls sideways, and whatever a finger or the Tab key can reach shows that it has the focus, and is not hidden under the bar.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from flask import url_for
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from werkzeug.serving import make_server

from bot.console.access import ACCESS, ROLES
from bot.console.sessions import COOKIE
from bot.console.words import LANGUAGES
from models import Base, Keyring, Note, Store
from tests.conftest import make_settings, open_frozen
from tests.console import Visitor
from tests.console_world import Full, addresses, make_full
from tests.world import World

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

HERE = Path(__file__).parent / "browser"
AXE = HERE / "axe-4.14.1.min.js"
NARROW, WIDE = 360, 1280
RUN_AXE = """rules => axe.run(document, {
    runOnly: rules || ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"], preload: false
}).then(found => found.violations.flatMap(rule => rule.nodes.map(node =>
    `${rule.id}: ${node.target.join(" ")} ${node.failureSummary.replace(/\\s+/g, " ")} ${node.html.slice(0, 160)}`)))"""
# After one press of Tab, whatever gets the focus is shown as if by Tab.
LOOK_AT_FOCUS = """() => {
    const found = [];
    const bar = document.querySelector(".top nav");
    const under = bar && getComputedStyle(bar).position === "fixed" ? bar : null;
    for (const each of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")) {
        if (each.disabled || !each.checkVisibility({visibilityProperty: true})) continue;
        each.focus();
        if (document.activeElement !== each) continue;
        const name = each.outerHTML.slice(0, 100);
        const style = getComputedStyle(each);
        const shown = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== "none";
        if (!shown) found.push("no focus to be seen on " + name);
        const box = each.getBoundingClientRect();
        if (under && !under.contains(each)) {
            const edge = under.getBoundingClientRect().top;
            if (box.top >= edge - 2) found.push("the focus is hidden under the bar on " + name);
        }
        if (box.width && box.height && (box.width < 23.5 || box.height < 23.5) && getComputedStyle(each).display !== "inline"
            && !["checkbox", "radio"].includes(each.type)) found.push(`${box.width}x${box.height} is too small for a finger: ` + name);
    }
    document.activeElement.blur();
    return found;
}"""
FIND_WIDE = """width => [...document.querySelectorAll("main *")]
    .filter(each => each.getBoundingClientRect().right > width + 1 && !each.closest(".scroll *")).slice(-3)
    .map(each => each.outerHTML.slice(0, 120)).join(" | ")"""
# What stays the same from role to role need not be looked through again: the content without its keys.
FINGERPRINT = """() => document.querySelector("main").outerHTML.replace(/value="[^"]*"/g, "") + document.documentElement.lang"""


@dataclass
class Walk:
    """One browser window of one visitor. ``problems``: what was wrong, each with where."""

    context: BrowserContext
    page: Page
    address: str
    where: str = ""
    problems: list[str] = field(default_factory=list)
    looked_through: set[str] = field(default_factory=set)

    def hear(self, message: ConsoleMessage) -> None:
        self.problems.append(f"{self.where}: {message.type}: {message.text}")

    def go(self, path: str) -> None:
        self.where = path
        response = self.page.goto(self.address + path)
        assert response is not None and response.status == 200, f"{path}: {response and response.status}"

    def look(self, *, dark: bool = False, whole: bool = False) -> None:
        """At the page as it is, narrow and wide. ``whole``: through all of it, even what was looked through in another window."""
        path = self.where
        for width in (NARROW, WIDE):
            self.where = f"{path} at {width}"
            self.page.set_viewport_size({"width": width, "height": 800})
            wide = self.page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                self.problems.append(f"{self.where}: it scrolls sideways, to {wide}: {self.page.evaluate(FIND_WIDE, width)}")
            self.page.keyboard.press("Tab")
            self.problems += [f"{self.where}: {each}" for each in self.page.evaluate(LOOK_AT_FOCUS)]
            seen = hashlib.sha256(f"{width} {self.page.evaluate(FINGERPRINT)}".encode()).hexdigest()
            if whole or seen not in self.looked_through:
                self.looked_through.add(seen)
                self.run_axe(None)
        if dark:
            self.where = f"{path} in the dark"
            self.page.emulate_media(color_scheme="dark")
            self.run_axe(["color-contrast"])
            self.page.emulate_media(color_scheme="light")
        if self.page.title() == "stolen":
            self.problems.append(f"{path}: a member's words ran as a script")
        self.where = path

    def run_axe(self, rules: list[str] | None) -> None:
        # By the debugger, which the page's policy does not bind: it stays as strict as it is for everybody.
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8"))
        self.problems += [f"{self.where}: {each}" for each in self.page.evaluate(RUN_AXE, rules)]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    """The collective in which everything has happened."""
    url = f"sqlite:///{tmp_path_factory.mktemp('console')}/chorus.db"
    store = Store(url, Keyring([os.urandom(32)]))
    Base.metadata.create_all(store.engine)
    store.close()
    deployment = open_frozen(make_settings(url))
    yield make_full(World(deployment))
    deployment.store.close()


@pytest.fixture(scope="module")
def address(full: Full) -> Iterator[str]:
    """A web server with its pages."""
    server = make_server("127.0.0.1", 0, full.world.app, threaded=True)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def looked_through() -> set[str]:
    return set()


def begin(
    chromium: Browser, full: Full, address: str, looked_through: set[str], role: str | None, *, proven: bool = True, language: str = "en"
) -> Walk:
    context = chromium.new_context(viewport={"width": NARROW, "height": 800}, color_scheme="light", reduced_motion="reduce")
    cookies = [{"name": "chorus_language", "value": language, "url": address + "/console"}]
    if role is not None:
        visitor = Visitor(full.world, full.people[role], proven=proven)
        cookie = visitor.client.get_cookie(COOKIE, path="/console")
        assert cookie is not None
        cookies.append({"name": COOKIE, "value": cookie.value, "url": address + "/console"})
    context.add_cookies(cookies)  # type: ignore[arg-type]
    walk = Walk(context, context.new_page(), address, looked_through=looked_through)
    walk.page.on("console", walk.hear)
    walk.page.on("pageerror", lambda error: walk.problems.append(f"{walk.where}: {error}"))
    return walk


def paths_for(full: Full, role: str | None) -> list[str]:
    """Every page of the table that this role may open and that is there by GET, once; fragments are seen inside their pages."""
    known, found = addresses(full), []
    roles = set(ROLES) if role == "all" else {role}
    visitor = Visitor(full.world, full.people[role] if role is not None else None, proven=True)
    for rule in sorted(full.world.app.url_map.iter_rules(), key=lambda rule: rule.rule):
        access = ACCESS.get(rule.endpoint)
        if access is None or "GET" not in (rule.methods or ()) or rule.endpoint == "console.static":
            continue
        if access.roles is not None and (role is None or (access.roles and not access.roles & roles)):
            continue
        holes = set(rule.arguments) - {"word"}
        assert not holes or rule.endpoint in known, f"tell tests/console_world.py where {rule.endpoint} is found"
        for values in known.get(rule.endpoint, [{}]):
            own = {"membership": full.people[role]} if role is not None and "membership" in values else {}
            word = {"word": full.word} if "word" in rule.arguments else {}
            with full.world.app.test_request_context():
                path = url_for(rule.endpoint, **(values | own | word))
            response = visitor.get(path)
            if response.status_code == 200 and "<html" in response.text:
                found.append(path)
            else:
                # A page that leads on, a part of a page, or what this role may not see although she may open such pages.
                assert response.status_code in (200, 302, 404, 409), f"{path} as {role}: {response.status_code}"
    return found


@pytest.mark.parametrize("role", ["all", *ROLES])
def test_each_role_walks_through_all_its_pages(chromium: Browser, full: Full, address: str, looked_through: set[str], role: str) -> None:
    walk = begin(chromium, full, address, looked_through, role)
    paths = paths_for(full, role)
    assert len(paths) >= 6, f"{role} sees next to nothing"
    for path in paths:
        walk.go(path)
        walk.look(dark=role == "all", whole=path == f"/console/{full.word}/")
    walk.context.close()
    assert not walk.problems, "\n".join(walk.problems)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_the_pages_of_every_day_in_the_other_languages(
    chromium: Browser, full: Full, address: str, looked_through: set[str], language: str
) -> None:
    walk = begin(chromium, full, address, looked_through, "all", language=language)
    number, thread = full.numbers["sending"], full.notes[1]
    for path in ("/", "/compose", f"/broadcasts/{number}", f"/broadcasts/{full.numbers['own_draft']}", "/notes", f"/notes/{thread}"):
        walk.go(f"/console/{full.word}{path}")
        assert walk.page.locator("html").get_attribute("lang") == language
        walk.look()
    walk.context.close()
    assert not walk.problems, "\n".join(walk.problems)


def test_before_anybody_is_logged_in(chromium: Browser, full: Full, address: str, looked_through: set[str]) -> None:
    walk = begin(chromium, full, address, looked_through, None)
    for path in paths_for(full, None):
        walk.go(path)
        walk.look(dark=True, whole=True)
    walk.page.get_by_role("textbox").fill("+1 555 880 7000")
    walk.page.locator("main form button").click()
    walk.page.locator("input[name=code]").wait_for()
    walk.where = "the code"
    walk.look(dark=True, whole=True)
    walk.context.close()
    assert not walk.problems, "\n".join(walk.problems)


def test_pages_that_answer_a_form(chromium: Browser, full: Full, address: str, looked_through: set[str]) -> None:
    """The second step, a list read in, a form given back, a door that stays closed."""
    walk = begin(chromium, full, address, looked_through, "all", proven=False)
    walk.go(f"/console/{full.word}/polls/{full.numbers['open_poll']}")
    walk.page.locator("form[action$='/close'] button").click()
    walk.page.locator("input[name=proof]").wait_for()
    walk.where = "the second step"
    walk.look(dark=True, whole=True)
    walk.go(f"/console/{full.word}/members/import")
    walk.page.locator("input[type=file]").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": b"phone,name\n+15558806001,Rosa\n12,<b>nobody</b>\n"}
    )
    walk.page.locator("input[name=how]").fill("signed the list at the door")
    walk.page.locator("form:has(input[type=file]) button").last.click()
    walk.page.get_by_text("Rosa").wait_for()
    walk.where = "a list read in"
    walk.look(dark=True, whole=True)
    # What is refused answers with an error's number, which the browser writes into its console: that one line is expected.
    expected = re.compile(r"Failed to load resource: the server responded with a status of 40[034]")
    walk.page.goto(f"{address}/console/{full.word}/compose")
    walk.where = "a form given back"
    walk.page.locator("#compose button").last.click()
    walk.page.locator("[role=alert]").wait_for()
    walk.look(dark=True, whole=True)
    walk.page.goto(f"{address}/console/{full.word}/broadcasts/99999")
    walk.where = "a text that is not there"
    walk.look(dark=True, whole=True)
    walk.page.goto(f"{address}/console/elsewhere/")
    walk.page.locator("[data-door=closed]").wait_for()
    walk.where = "a door that stays closed"
    walk.look(dark=True, whole=True)
    walk.context.close()
    problems = [each for each in walk.problems if not expected.search(each)]
    assert not problems, "\n".join(problems)


def test_the_live_part_of_the_first_page_keeps_the_focus(chromium: Browser, full: Full, address: str, looked_through: set[str]) -> None:
    """Whoever is about to press a link by keyboard must not lose it because something elsewhere on the page changed."""
    walk = begin(chromium, full, address, looked_through, "organizer")
    walk.page.clock.install()
    walk.go(f"/console/{full.word}/")
    walk.page.locator("#do-notes").focus()
    with full.world.store.write() as session:
        member, now = full.members[8], full.world.clock.now()
        session.add(Note(collective_id=full.collective, number=9_999, membership_id=member, body="Hello?", created_at=now))
    old = walk.page.locator("#now").inner_text()
    walk.page.clock.run_for(11_000)
    walk.page.wait_for_function("old => document.querySelector('#now').innerText !== old", arg=old)
    assert walk.page.evaluate("document.activeElement.id") == "do-notes"
    walk.context.close()
    assert not walk.problems, "\n".join(walk.problems)


def test_axe_is_the_one_we_know() -> None:
    known, name = (HERE / "SHA256SUMS").read_text("ascii").split()
    assert name == AXE.name and hashlib.sha256(AXE.read_bytes()).hexdigest() == known
    assert "Mozilla Public License" in (HERE / "axe.LICENSE").read_text("utf-8")
