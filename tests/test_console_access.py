"""Who may open what: every route of the console as every role, default closed; forms that are not ours; sessions that are over."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from werkzeug.routing import Rule

from bot.console.access import ACCESS, ROLES, Access
from bot.console.sessions import IDLE, LASTS
from models import Audit, Role, WebSession
from tests.console import Visitor
from tests.world import World

CONSOLE = "console."


@pytest.fixture
def sangha(small_world: World) -> int:
    return small_world.collective("SANGHA")


def rules(world: World) -> list[Rule]:
    return [rule for rule in world.app.url_map.iter_rules() if rule.endpoint.startswith(CONSOLE)]


def path_of(rule: Rule) -> str:
    """The route's path with something in each of its holes (nothing that exists, except the word)."""
    path = rule.rule.replace("<word>", "sangha").replace("<path:filename>", "console.css")
    return re.sub(r"<int[^>]*>", "999999", re.sub(r"<(?!int)[^>]+>", "nothing", path))


def test_every_route_is_in_the_table_and_the_table_has_no_other(small_world: World) -> None:
    assert {rule.endpoint for rule in rules(small_world)} == set(ACCESS)


@pytest.mark.parametrize("number", [2**31, 2**63, 10**30])
def test_a_number_that_no_column_holds_is_the_address_of_nothing(world: World, number: int) -> None:
    collective = world.collective("SANGHA")
    visitor = Visitor(world, world.member(collective, "+15558800001", roles=ROLES), proven=True)
    for rule in rules(world):
        if "<int" in rule.rule:
            path = re.sub(r"<int[^>]*>", str(number), rule.rule.replace("<word>", "sangha"))
            answers = {(visitor.get if method == "GET" else visitor.post)(path).status_code for method in rule.methods & {"GET", "POST"}}
            assert answers <= {404, 405}, f"{path}: {answers}"
    for query in ("members?before", "members?group", "notes?before", "broadcasts?before", "audit?before", "polls?before", "actions?before"):
        assert visitor.get(f"/{query}={number}").status_code == 200, query


def test_a_route_that_the_table_does_not_know_answers_nobody(small_world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    member = small_world.member(sangha, "+15558800001", roles=ROLES)
    monkeypatch.delitem(ACCESS, "console.account")
    assert Visitor(small_world, member).get("/console/account").status_code == 404


@pytest.mark.parametrize("role", ["nobody", "", *ROLES])
def test_each_role_opens_what_the_table_says_and_nothing_else(small_world: World, sangha: int, role: str) -> None:
    """nobody: not logged in; "": logged in, a member without a role here (a role elsewhere)."""
    elsewhere = small_world.collective("ELSEWHERE")
    member = None
    if role != "nobody":
        member = small_world.member(sangha, "+15558800001", roles=[role] if role else [])
        if not role:
            small_world.member(elsewhere, "+15558800002", roles=ROLES)
    for rule in rules(small_world):
        access = ACCESS[rule.endpoint]
        for method in rule.methods & {"GET", "POST"}:
            visitor = Visitor(small_world, member, proven=True)  # a new one each time: one of the routes logs out
            response = visitor.get(path_of(rule)) if method == "GET" else visitor.post(path_of(rule))
            let_in = not is_refused(response.text, response.headers.get("Location", ""), access)
            assert let_in is may(role, access), f"{method} {rule.rule} as {role or 'a member'}: {response.status_code}"


def may(role: str, access: Access) -> bool:
    if access.roles is None:
        return True
    return role != "nobody" and (not access.roles or role in access.roles)


def is_refused(page: str, location: str, access: Access) -> bool:
    return 'data-door="closed"' in page or (access.roles is not None and "/console/login" in location)


@pytest.mark.parametrize("number", [2**31, 2**63])
def test_a_number_that_no_column_holds_is_no_page(world: World, number: int) -> None:
    member = world.member(world.collective("SANGHA"), "+15558800001", roles=ROLES)
    visitor = Visitor(world, member, proven=True)
    numbered = [rule for rule in rules(world) if "<int:" in rule.rule]
    assert len(numbered) > 20
    for rule in numbered:
        path = path_of(rule).replace("999999", str(number))
        answers = [visitor.get(path) if method == "GET" else visitor.post(path) for method in rule.methods & {"GET", "POST"}]
        assert {answer.status_code for answer in answers} == {404}, path


def test_what_is_not_there_and_what_is_not_hers_look_alike(small_world: World, sangha: int) -> None:
    small_world.collective("OTHERS")
    visitor = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["organizer"]))
    theirs, nobodys = visitor.get("/console/others/"), visitor.get("/console/nowhere/")
    assert theirs.status_code == nobodys.status_code == 403
    assert theirs.text.replace("/others/", "/nowhere/") == nobodys.text


def test_a_role_taken_away_is_gone_with_the_next_click(small_world: World, sangha: int) -> None:
    member = small_world.member(sangha, "+15558800001", roles=["organizer"])
    visitor = Visitor(small_world, member)
    assert visitor.get("/").status_code == 200
    with small_world.store.write() as session:
        session.execute(sa.delete(Role))
    assert visitor.get("/").status_code == 403


@pytest.mark.parametrize("later", [IDLE, LASTS])
def test_a_session_ends_by_itself(small_world: World, sangha: int, later: timedelta) -> None:
    visitor = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["organizer"]))
    small_world.clock.advance(later)
    assert visitor.get("/").headers["Location"].startswith("/console/login")


def test_a_forgotten_tab_that_asks_by_itself_does_not_keep_the_session_alive(small_world: World, sangha: int) -> None:
    visitor = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["organizer"]))
    for _ in range(4):
        small_world.clock.advance(IDLE / 4)
        last = visitor.get("/", headers={"HX-Request": "true"})
    assert last.headers["HX-Redirect"].endswith("/console/login")
    clicking = Visitor(small_world, small_world.member(sangha, "+15558800002", roles=["organizer"]))
    for _ in range(6):
        small_world.clock.advance(IDLE / 4)
        assert clicking.get("/").status_code == 200


def test_forms_of_another_session_or_another_site_do_nothing(small_world: World, sangha: int) -> None:
    member = small_world.member(sangha, "+15558800001", roles=["organizer"])
    hers, other = Visitor(small_world, member), Visitor(small_world, member)
    for token in ("", other.csrf, "x" * 32, "ü"):
        assert hers.post("/console/account/sessions", {"csrf": token}).status_code == 400
    assert hers.post("/console/account/sessions", headers={"Origin": "https://evil.example"}).status_code == 400
    assert hers.post("/console/account/sessions", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400
    assert other.get("/").status_code == 200
    for nonsense in ({}, {"which": "all"}, {"which": "1x"}, {"which": "-1"}, {"which": "0"}, {"which": "१"}):
        assert hers.post("/console/account/sessions", nonsense).status_code == 400
    assert other.get("/").status_code == 200, "nothing that is not understood ends a session"
    assert hers.post("/console/account/sessions", {"which": "others"}).status_code == 303
    assert other.get("/").status_code == 302, "all her other sessions are over"


@pytest.mark.parametrize("origin", ["http://[", "https://[::1", "//[", "\x00"])
def test_a_broken_origin_is_another_site(small_world: World, sangha: int, origin: str) -> None:
    visitor = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["organizer"]))
    assert visitor.post("/console/language", {"language": "hi"}, headers={"Origin": origin}).status_code == 400
    assert visitor.post("/console/language", {"language": "hi", "next": "http://["}).status_code == 303


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/console/nothing/here/at/all", 404),
        ("GET", "/console/static/nope.js", 404),
        ("GET", "/console/login/code", 405),
        ("DELETE", "/console/", 405),
        ("GET", "/console", 308),
    ],
)
def test_what_is_not_there_is_said_kindly_and_kept_by_nobody(small_world: World, method: str, path: str, status: int) -> None:
    response = Visitor(small_world, language="hi").client.open(path, method=method)
    assert response.status_code == status
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert (response.headers["X-Content-Type-Options"], response.headers["Cache-Control"]) == ("nosniff", "no-store")
    if status != 308:
        assert "पहले पन्ने" in response.text and 'href="/console/"' in response.text
    assert (status == 405) is ("Allow" in response.headers)


def test_other_rooms_keep_their_own_answers(small_world: World) -> None:
    response = small_world.client.get("/consoles/nothing")
    assert response.status_code == 404 and "Content-Security-Policy" not in response.headers


def test_every_page_has_a_strict_policy_and_is_kept_by_nobody(small_world: World, sangha: int) -> None:
    visitor = Visitor(small_world, small_world.member(sangha, "+15558800001", roles=["organizer"]))
    for path in ("/", "/console/", "/console/login", "/console/account"):
        response = visitor.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert response.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<script(?![^>]* src=)|\sstyle=|\son\w+=|javascript:", response.text)


def test_the_end_of_a_session_leaves_a_trace_wherever_she_has_a_role(small_world: World, sangha: int) -> None:
    member = small_world.member(sangha, "+15558800001", roles=["organizer"])
    hers, phone, tablet = (Visitor(small_world, member) for _ in range(3))
    with small_world.store.read() as session:
        newest = session.scalar(sa.select(sa.func.max(WebSession.id)))
    for _ in range(2):
        hers.post("/console/account/sessions", {"which": str(newest)})
        hers.post("/console/account/sessions")
    assert tablet.get("/").status_code == phone.get("/").status_code == 302
    hers.post("/console/logout")
    with small_world.store.read() as session:
        rows = session.execute(sa.select(Audit.act, Audit.collective_id, Audit.membership_id).order_by(Audit.id))
        assert [tuple(row) for row in rows] == [(act, sangha, member) for act in ("session ended", "session ended", "logged out")]
