"""Who did what, in the page's language: every act that the code records has a name, and what it was about leads there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.console import words
from bot.console.traces import say_act
from bot.delivery.broadcasts import draft_broadcast, record_act
from models import Audit
from tests.console import Visitor
from tests.world import World

ROOT = Path(__file__).parent.parent
# Who writes an audit row, and at which place (or by which name) it says what was done.
_WRITERS = {"Audit": "act", "record_act": 3, "audit": 1, "trace": 0, "trace_everywhere": 1, "_trace": 1, "_audit": None, "tell_draft": 3}
# What stands in the holes of an act.
_HOLES = {"role": "supporter", "how": "code", "kind": "alert", "reason": "filtered", "code": "30007"}


def recorded_acts() -> Iterator[str]:
    """Every act in the source, with something in its holes."""
    for path in sorted((ROOT / "bot").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _WRITERS):
                continue
            place = _WRITERS[node.func.id]
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            told: list[ast.expr] = [given["act"]] if "act" in given else []
            if isinstance(place, int) and len(node.args) > place:
                told = [node.args[place]]
            elif place is None:
                # Helpers of a module: whichever argument is a text.
                told = [each for each in node.args[:3] if isinstance(each, ast.JoinedStr | ast.Constant) and _read(each)][:1]
            for each in told:
                branches = [each.body, each.orelse] if isinstance(each, ast.IfExp) else [each]
                yield from (text for branch in branches if (text := _read(branch)))


def _read(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = []
    for piece in node.values:
        if isinstance(piece, ast.Constant):
            parts.append(str(piece.value))
        elif isinstance(piece, ast.FormattedValue):
            name = piece.value.id if isinstance(piece.value, ast.Name) else getattr(piece.value, "attr", "")
            parts.append(_HOLES.get(name, "7"))
    return "".join(parts)


def test_every_act_that_is_recorded_has_a_name(small_world: World) -> None:
    acts = set(recorded_acts())
    assert {"logged in", "held", "supporter added", "approved by code", "member muted", "group saved", "line changed"} <= acts
    assert {"note claimed", "note let go", "peer answered", "on duty", "off duty", "session ended", "logged out"} <= acts
    with small_world.app.test_request_context("/console/", headers={"Cookie": "chorus_language=es"}):
        unnamed = sorted(act for act in acts if say_act(act) == act)
    assert not unnamed, f"bot/console/traces.py does not know: {unnamed}"


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_the_page_says_it_in_its_language_and_leads_there(small_world: World, language: str) -> None:
    sangha = small_world.collective("SANGHA")
    asha = small_world.member(sangha, "+15558800001", name="Asha", roles=["organizer"])
    rows = (
        ("held: filtered 30007", "broadcast 7", "/broadcasts/7"), ("alert drafted", "broadcast 8", "/broadcasts/8"),
        ("poll closed", "broadcast 9", "/broadcasts/9"), ("poll closed", "poll 3", "/polls"),
        ("supporter added", f"membership {asha}", f"/members/{asha}"), ("members imported", "import 3: 12", "/members/import"),
        ("group saved", "group 4: 1", "/members?group=4"), ("note answered", "note 5", "/notes?all=1"),
        ("members exported", "export 6", "/members/export"), ("hours changed", "quiet 22-7, cool-down 60 s", None),
        ("something of an older version", "its own words", None),
    )  # fmt: skip
    with small_world.store.write() as session:
        now = small_world.clock.now()
        for minute, (act, subject, _) in enumerate(rows):
            at = now + timedelta(minutes=minute)
            session.add(Audit(collective_id=sangha, membership_id=asha, act=act, subject=subject, at=at))
    page = Visitor(small_world, asha, language=language).text("/audit")
    for act, _, link in rows:
        assert link is None or f'href="/console/sangha{link}"' in page
        with small_world.app.test_request_context("/console/", headers={"Cookie": f"chorus_language={language}"}):
            assert say_act(act) in page.replace("&#39;", "'")
    assert "alert drafted" not in page and "22-7" in page


def test_a_steward_is_led_nowhere_she_may_not_go(small_world: World) -> None:
    sangha = small_world.collective("SANGHA")
    steward = small_world.member(sangha, "+15558800001", roles=["steward"])
    with small_world.store.write() as session:
        for subject in (f"membership {steward}", "note 5", "broadcast 7"):
            session.add(Audit(collective_id=sangha, act="held", subject=subject, at=small_world.clock.now()))
    page = Visitor(small_world, steward).text("/audit")
    assert "/broadcasts/7" in page and "/members/" not in page and "/notes" not in page
    with small_world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Audit)) == 3, "looking leaves no trace"


def test_the_audit_is_appended_to_and_never_changed() -> None:
    """But for FORGET, which takes her name off, and the year after which a row goes."""
    changes = re.compile(r"(?:update|delete)\(\s*(?:models\.)?Audit\b|\bRule\([^)]*\bAudit\b")
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "bot").rglob("*.py") if changes.search(path.read_text("utf-8"))}
    assert found == {"bot/conversation/actions/forgetting.py", "bot/upkeep/retention.py"}


@pytest.mark.parametrize(
    ("roles", "sees"), [(["steward"], False), (["admin"], False), (["organizer"], True), (["admin", "supporter"], True)]
)
def test_what_tells_of_care_is_read_by_those_who_may_know(small_world: World, roles: list[str], sees: bool) -> None:
    sangha = small_world.collective("SANGHA")
    now = small_world.clock.now()
    with small_world.store.write() as session:
        asked = draft_broadcast(session, now, sangha, "check_in", {})
        told = draft_broadcast(session, now, sangha, "notice", {"en": "We meet at six."})
        for broadcast, act in ((asked, "check_in drafted"), (asked, "held"), (told, "notice drafted"), (told, "held")):
            record_act(session, now, broadcast, act)
        session.add(Audit(collective_id=sangha, act="peer answered", at=now))
        session.add(Audit(collective_id=sangha, act="logged out", at=now))
    page = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=roles)).text("/audit")
    assert ("check-in" in page, f"text {asked.number}" in page, "peer" in page) == (sees, sees, sees)
    assert f"text {told.number}" in page and "notice drafted" in page and "logged out" in page
