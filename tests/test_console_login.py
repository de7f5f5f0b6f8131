"""Logging in by phone: the code by text, its limits, and answers that do not tell who has a role."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from datetime import timedelta

import pyotp
import pytest
import sqlalchemy as sa
from werkzeug.test import TestResponse

from bot.console.access import ACCESS, Access
from bot.console.browsers import mark_browser
from bot.console.codes import NUMBER_SPAN, PER_ASKER, PER_BROWSER, PER_DAY, PER_NUMBER, TRIES, Asked, ask_code
from bot.console.pages.status import count_for_everybody
from bot.delivery import logins
from bot.delivery.leases import is_anything_waiting
from bot.delivery.logins import write_codes
from bot.delivery.second_factor import check_factor
from bot.languages import words
from bot.languages.segments import count_segments
from models import Audit, LoginCode, Membership, Outbound, Role
from tests.conftest import make_settings, open_frozen
from tests.console import SECRET, Visitor, code_now, give_factor
from tests.delivery import ScriptedCarrier, pump_all, put_letter
from tests.world import World

ELSEWHERE = ("https://evil.example/", "//evil.example", "/healthz", "/console\\evil", "/consoles/")
HERS, UNKNOWN, PLAIN = "+15558800001", "+15558800009", "+15558800002"


@pytest.fixture
def organizer(small_world: World) -> int:
    sangha = small_world.collective("SANGHA")
    small_world.member(sangha, PLAIN)
    return small_world.member(sangha, HERS, roles=["organizer"])


def door_of(visitor: Visitor) -> str:
    """What the login forms of this browser carry."""
    return re.search(r'name="door" value="(\w{32})"', visitor.get("/console/login").text)[1]


def enter(visitor: Visitor, ticket: str, code: str, **fields: str) -> TestResponse:
    """Send the second form."""
    return visitor.post("/console/login/code", {"ticket": ticket, "code": code, "door": door_of(visitor)} | fields)


def ask(visitor: Visitor, number: str, **named: object) -> tuple[int, str]:
    """(status, ticket) of asking for a code."""
    response = visitor.post("/console/login", {"number": number, "door": door_of(visitor)}, **named)
    ticket = re.search(r'name="ticket" value="([^"]+)"', response.text)
    return response.status_code, ticket[1] if ticket else ""


def seen_at(address: str, forwarded: str | None = None) -> dict[str, object]:
    """A request whose other end, seen from the web process, has this address; ``forwarded``: its X-Forwarded-For."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return {"environ_base": {"REMOTE_ADDR": address}, "headers": headers}


def count_refused(world: World, requests: list[dict[str, object]]) -> int:
    """How many of these requests, each for a number of its own, are too many."""
    visitor = Visitor(world)
    return [ask(visitor, f"+1555991{n:04d}", **each)[0] for n, each in enumerate(requests)].count(429)


def behind(database_url: str, proxies: int) -> World:
    """Chorus, told of so many proxies in front of it."""
    return World(open_frozen(make_settings(database_url, trusted_proxies=proxies)))


def sent_codes(world: World) -> list[tuple[str, str]]:
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    return [(taken.to, re.search(r"\d{6}", taken.body)[0]) for taken in carrier.taken]


def test_a_code_by_text_opens_a_session(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world)
    _, ticket = ask(visitor, "+1 (555) 880-0001")
    [(to, code)] = sent_codes(small_world)
    assert to == HERS
    response = enter(visitor, ticket, f"{code[:3]} {code[3:]}")
    assert (response.status_code, response.headers["Location"]) == (303, "/console/start")
    [cookie] = [each for each in response.headers.getlist("Set-Cookie") if each.startswith("chorus_console=")]
    assert "HttpOnly" in cookie and "Secure" in cookie and "SameSite=Lax" in cookie
    assert visitor.get("/").status_code == 200
    with small_world.store.read() as session:
        assert session.scalars(sa.select(Audit.act)).all() == ["logged in"]
    visitor.client.delete_cookie("chorus_console", path="/console")
    again = enter(visitor, ticket, code)
    assert again.status_code == 403 and "chorus_console" not in again.headers.get("Set-Cookie", "")


@pytest.mark.parametrize("number", [UNKNOWN, PLAIN])
def test_nobody_learns_who_has_a_role(small_world: World, organizer: int, number: str) -> None:
    known, unknown = Visitor(small_world), Visitor(small_world)
    one = known.post("/console/login", {"number": HERS, "door": door_of(known)})
    other = unknown.post("/console/login", {"number": number, "door": door_of(unknown)})
    strip = lambda page: re.sub(r'value="(\d+\.)?\w{24,32}"', "", page.text)  # noqa: E731 - ticket and door differ for everybody
    assert (one.status_code, strip(one)) == (other.status_code, strip(other))
    assert [to for to, _ in sent_codes(small_world)] == [HERS]
    ticket = re.search(r'name="ticket" value="([^"]+)"', other.text)[1]
    assert enter(unknown, ticket, "000000").status_code == 403


@pytest.mark.parametrize("number", [HERS, UNKNOWN])
def test_no_count_that_everybody_sees_moves_with_a_code(small_world: World, organizer: int, number: str) -> None:
    stranger = Visitor(small_world)

    def watch() -> tuple[str, str]:
        metrics = small_world.client.get("/metrics").text
        with small_world.store.read() as session:
            return "\n".join(f"{name} {n}" for name, n in count_for_everybody(session)), metrics

    before = watch()
    assert 'lane="reply"' in before[1] and 'lane="code"' not in before[1]
    ask(stranger, number)
    assert watch() == before
    with small_world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(Outbound.id))) == 0, "the web process itself puts nothing into the outbox"
    write_codes(small_world.store)
    assert watch() == before, "waiting"
    sent_codes(small_world)
    assert watch() == before, "with the carrier"
    with small_world.store.write() as session:
        session.execute(sa.update(Outbound).values(state="delivered", done_at=small_world.clock.now()))
    assert watch() == before, "on the phone"


def test_a_known_number_and_an_unknown_one_cost_the_same_statements(small_world: World, organizer: int) -> None:
    said: dict[str, list[str]] = {}
    visitor = Visitor(small_world)
    ask(visitor, "+15558800007")  # what is prepared once
    for number in (UNKNOWN, HERS):
        door, heard = door_of(visitor), said.setdefault(number, [])
        hear = lambda *told, heard=heard: heard.append(told[2])  # noqa: E731
        for engine in (small_world.store.engine, small_world.store.reader):
            sa.event.listen(engine, "before_cursor_execute", hear)
        visitor.post("/console/login", {"number": number, "door": door})
        for engine in (small_world.store.engine, small_world.store.reader):
            sa.event.remove(engine, "before_cursor_execute", hear)
    assert said[HERS] == said[UNKNOWN] and any("login_codes" in statement for statement in said[HERS])
    assert not any("phones" in statement or "people" in statement for statement in said[HERS])


def test_a_code_waits_for_a_worker_and_is_sent_once(world: World) -> None:
    world.member(world.collective(), HERS, roles=["organizer"])
    with world.store.read() as session:
        assert not is_anything_waiting(session, world.clock.now())
    tickets = [ask(Visitor(world), number)[1] for number in (HERS, UNKNOWN)]
    assert all(tickets)
    with world.store.read() as session:
        assert is_anything_waiting(session, world.clock.now()), "a lost bell is made good by the clock"
    workers = [threading.Thread(target=write_codes, args=(world.store,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [to for to, _ in sent_codes(world)] == [HERS]
    with world.store.read() as session:
        assert not is_anything_waiting(session, world.clock.now())
        assert session.scalars(sa.select(LoginCode.seed)).all() == [None, None], "what a code is made from does not lie about"


def test_a_code_that_is_over_is_not_sent(small_world: World, organizer: int) -> None:
    ask(Visitor(small_world), HERS)
    small_world.clock.advance(timedelta(minutes=10))
    assert write_codes(small_world.store) == 1 and sent_codes(small_world) == []


def test_codes_that_can_not_be_written_hold_nothing_else_up(
    small_world: World, organizer: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_letter(small_world, organizer, "Hello")
    monkeypatch.setattr(logins, "make_code", lambda *_: 1 / 0)
    ask(Visitor(small_world), HERS)
    carrier = ScriptedCarrier()
    pump_all(small_world, carrier, 1.0)
    assert carrier.bodies == ["Hello"] and "ZeroDivisionError" in caplog.text


def test_nobody_is_logged_in_by_another_sites_form(small_world: World, organizer: int) -> None:
    """As an old browser sends it: no Sec-Fetch-Site, no Origin. The attacker has a ticket and a code of his own."""
    attacker, victim = Visitor(small_world), Visitor(small_world)
    door = door_of(attacker)
    _, ticket = ask(attacker, HERS)
    [(_, code)] = sent_codes(small_world)
    fields = {"ticket": ticket, "code": code}
    for own in ({}, {"door": door}, {"door": ""}, {"door": "é"}):
        refused = victim.post("/console/login/code", fields | own)
        assert refused.status_code == 400 and "This form is too old." in refused.text
        assert victim.post("/console/login", {"number": HERS} | own).status_code == 400
    assert enter(victim, ticket, code).status_code == 403, "the ticket is worth nothing in another browser"
    victim.client.set_cookie("chorus_door", "x", path="/console")
    assert victim.post("/console/login/code", fields | {"door": door}).status_code == 400
    assert enter(attacker, ticket, code).status_code == 303


def test_two_tabs_and_the_back_button_log_in_all_the_same(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world)
    one_tab = door_of(visitor)
    other_tab = door_of(visitor)
    first = visitor.post("/console/login", {"number": HERS, "door": one_tab})
    visitor.post("/console/login", {"number": UNKNOWN, "door": other_tab})
    back = visitor.post("/console/login", {"number": HERS, "door": one_tab})
    assert (first.status_code, back.status_code) == (200, 200)
    codes = [code for _, code in sent_codes(small_world)]
    for page, code in zip((first, back), codes, strict=True):
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', page.text.split("<main")[1]))
        assert visitor.post("/console/login/code", hidden | {"code": code}).status_code == 303
        visitor.client.delete_cookie("chorus_console", path="/console")


def test_five_wrong_codes_end_it(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world)
    _, ticket = ask(visitor, HERS)
    [(_, code)] = sent_codes(small_world)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    for _ in range(TRIES):
        assert enter(visitor, ticket, wrong).status_code == 403
    assert enter(visitor, ticket, code).status_code == 403


def test_a_code_is_over_after_ten_minutes(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world)
    _, ticket = ask(visitor, HERS)
    [(_, code)] = sent_codes(small_world)
    small_world.clock.advance(timedelta(minutes=10))
    assert enter(visitor, ticket, code).status_code == 403


def test_codes_are_limited_by_number_and_by_asker(small_world: World, organizer: int) -> None:
    visitor, at = Visitor(small_world), seen_at("9.9.9.9")
    assert [ask(visitor, HERS, **at)[0] for _ in range(PER_NUMBER + 1)] == [200] * PER_NUMBER + [429]
    assert [ask(visitor, f"+1555990{n:04d}", **at)[0] for n in range(PER_ASKER)].count(429) == PER_NUMBER
    small_world.clock.advance(timedelta(hours=1))
    assert ask(visitor, HERS, **at)[0] == 200
    with small_world.store.read() as session:
        assert session.scalar(sa.select(sa.func.count(LoginCode.id))) == PER_ASKER + 1


def use_up(world: World, number: str) -> None:
    """Strangers, each from an address of its own, ask for all the codes that a number gets in a day."""
    world.clock.advance(timedelta(days=1))
    for n in range(PER_DAY):
        if n % PER_NUMBER == 0:
            world.clock.advance(NUMBER_SPAN)
        assert ask_code(world.deployment, number, f"8.8.{n}.1", "d").ticket
    world.clock.advance(NUMBER_SPAN)
    sent_codes(world)


def test_strangers_lock_nobody_out_of_her_own_browser(small_world: World, organizer: int) -> None:
    hers, at = Visitor(small_world), seen_at("9.9.9.9")
    _, ticket = ask(hers, HERS, **at)
    [(_, code)] = sent_codes(small_world)
    [cookie] = [each for each in enter(hers, ticket, code).headers.getlist("Set-Cookie") if each.startswith("chorus_known=")]
    assert "HttpOnly" in cookie and "Secure" in cookie and "Path=/console" in cookie
    hers.client.delete_cookie("chorus_console", path="/console")
    use_up(small_world, HERS)
    assert ask(Visitor(small_world), HERS, **at)[0] == 429
    _, ticket = ask(hers, HERS, **at)
    [(_, code)] = sent_codes(small_world)
    assert enter(hers, ticket, code).status_code == 303
    hers.client.delete_cookie("chorus_console", path="/console")
    assert [ask(hers, HERS, **at)[0] for _ in range(PER_BROWSER + 1)] == [200] * PER_BROWSER + [429], "but not without end"


def test_a_mark_is_good_for_its_number_only_and_can_not_be_made_up(small_world: World, organizer: int) -> None:
    use_up(small_world, UNKNOWN)
    mark = mark_browser(small_world.store, small_world.store.hash_number(HERS))
    token, _, seal = mark.partition(".")
    for cookie in (mark, "", "x", f"{token}.", f"{token}.{seal[:-1]}0", f".{seal}", f"{token}.é", "." * 500):
        assert ask_code(small_world.deployment, UNKNOWN, "9.9.9.9", "d", cookie).why == "too_many"
    for number in (HERS, UNKNOWN):
        assert number.strip("+") not in mark and small_world.store.hash_number(number).hex() not in mark


def at_once(acts: list[Callable[[], Asked]]) -> list[str | None]:
    """What came of all of these, begun in the same moment."""
    gate, came = threading.Barrier(len(acts)), []

    def run(act: Callable[[], Asked]) -> None:
        gate.wait()
        came.append(act().why)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(came) == len(acts)
    return came


def test_a_burst_gets_no_more_than_the_limits(world: World) -> None:
    world.member(world.collective(), HERS, roles=["organizer"])
    _ = world.store.token_key
    ask_for = functools.partial(ask_code, world.deployment)
    came = at_once([functools.partial(ask_for, HERS, f"9.9.9.{n}", "d") for n in range(16)])
    assert came.count(None) == PER_NUMBER, "one number, many askers"
    came = at_once([functools.partial(ask_for, f"+1555990{n:04d}", "8.8.8.8", "d") for n in range(16)])
    assert came.count(None) == PER_ASKER, "one asker, many numbers"
    world.clock.advance(timedelta(days=2))
    crossed = [functools.partial(ask_for, f"+1555990{n % 2:04d}", f"8.8.8.{n // 2 % 2}", "d") for n in range(16)]
    assert at_once(crossed).count(None) == 2 * PER_NUMBER, "two numbers and two askers crosswise: nobody waits for ever"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "100.64.3.4", "::1", "fd00::1"])
def test_a_proxy_that_chorus_was_not_told_of_shuts_nobody_out(small_world: World, organizer: int, address: str) -> None:
    assert count_refused(small_world, [seen_at(address)] * (PER_ASKER + 2)) == 0
    visitor = Visitor(small_world)
    assert [ask(visitor, HERS, **seen_at(address))[0] for _ in range(PER_NUMBER + 1)][-1] == 429, "the number's own limit holds"


def test_a_forged_address_changes_nothing(sqlite_url: str) -> None:
    world = behind(sqlite_url, 0)
    assert count_refused(world, [seen_at("9.9.9.9", f"8.8.4.{n}") for n in range(PER_ASKER + 2)]) == 2


def test_behind_a_proxy_each_visitor_is_counted_for_herself(sqlite_url: str) -> None:
    world = behind(sqlite_url, 1)
    visitors = [seen_at("127.0.0.1", f"8.8.4.{n}") for n in range(PER_ASKER + 2)]
    assert count_refused(world, visitors) == 0
    forging = [seen_at("127.0.0.1", f"8.8.5.{n}, 127.0.0.1, 9.9.9.9") for n in range(PER_ASKER + 2)]
    world.clock.advance(timedelta(days=2))
    assert count_refused(world, forging) == 2, "only what our own proxy added counts"


def test_only_the_address_is_taken_from_a_proxy(sqlite_url: str) -> None:
    world = behind(sqlite_url, 1)
    lies = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "ftp", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Port": "1"}
    assert "evil" not in Visitor(world).get("/console/account", headers=lies).headers["Location"]
    assert world.client.get("/console/login", headers=lies | {"X-Forwarded-For": "8.8.4.4"}).status_code == 200


def test_one_subnet_of_ipv6_is_one_asker(small_world: World, organizer: int) -> None:
    assert count_refused(small_world, [seen_at(f"2620:fe::{n}") for n in range(1, PER_ASKER + 3)]) == 2


def test_rubbish_is_answered_kindly(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world)
    for number in ("", "hello", "\x00", "१२३", "+1" + "5" * 60, "<script>"):
        assert ask(visitor, number)[0] == 400
    for ticket in ("", "1", "1.x", "x.y", "999999999999999999.abc", "1.é"):
        assert enter(visitor, ticket, "123456").status_code == 403
    for target in (*ELSEWHERE, "//[", "http://[", "/console/\r\nSet-Cookie: a=b", "/console/\x00", "/console/\t//evil.example"):
        page = visitor.get("/console/login", query_string={"next": target})
        assert page.status_code == 200 and 'name="next"' not in page.text.split("<main")[1]
        assert visitor.post("/console/login", {"number": "hello", "next": target, "door": door_of(visitor)}).status_code == 400
        _, ticket = ask(visitor, HERS)
        [(_, code)] = sent_codes(small_world)
        opened = enter(visitor, ticket, code, next=target)
        assert (opened.status_code, opened.headers["Location"]) == (303, "/console/start"), "the code is not used up for nothing"
        visitor = Visitor(small_world)
        small_world.clock.advance(timedelta(hours=2))


def test_the_second_step_asks_for_the_apps_code_once_in_ten_minutes(
    small_world: World, organizer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACCESS, "console.end_session", Access(frozenset(), proof=True))
    visitor = Visitor(small_world, organizer)
    page = visitor.post("/console/account/sessions", {"which": "17"})
    assert "Set up the app" in page.text
    give_factor(small_world, organizer)
    page = visitor.post("/console/account/sessions", {"which": "17"})
    assert 'name="proof"' in page.text and 'name="which" value="17"' in page.text, "what she had filled in comes back"
    assert visitor.post("/console/account/sessions", {"which": "17", "proof": "000000"}).status_code == 403
    assert visitor.post("/console/account/sessions", {"which": "17", "proof": code_now(small_world)}).status_code == 303
    small_world.clock.advance(timedelta(minutes=9))
    assert visitor.post("/console/account/sessions", {"which": "17"}).status_code == 303
    small_world.clock.advance(timedelta(minutes=2))
    assert 'name="proof"' in visitor.post("/console/account/sessions", {"which": "17"}).text


def test_an_app_of_one_collective_proves_nothing_in_another(small_world: World, organizer: int) -> None:
    """She organizes in both; her app is SANGHA's."""
    maitri = small_world.collective("MAITRI")
    with small_world.store.write() as session:
        person = session.get_one(Membership, organizer).person_id
        there = Membership(person_id=person, collective_id=maitri, joined_at=small_world.clock.now())
        session.add(there)
        session.flush()
        session.add(Role(membership_id=there.id, role="organizer"))
    give_factor(small_world, organizer)
    visitor = Visitor(small_world, organizer)
    assert visitor.post("/settings/cap", {"cap": "", "proof": code_now(small_world)}).status_code == 303
    assert visitor.post("/settings/cap", {"cap": ""}).status_code == 303, "here it counts for ten minutes"
    visitor.word = "maitri"
    refused = visitor.post("/settings/cap", {"cap": ""})
    assert refused.status_code == 200 and "Set up the app" in refused.text
    give_factor(small_world, there.id)
    small_world.clock.advance(timedelta(minutes=1))
    assert visitor.post("/settings/cap", {"cap": "", "proof": code_now(small_world)}).status_code == 303
    visitor.word = "sangha"
    assert 'name="proof"' in visitor.post("/settings/cap", {"cap": ""}).text


def test_an_app_set_up_in_the_console_counts_a_day_later(small_world: World, organizer: int) -> None:
    visitor = Visitor(small_world, organizer)
    page = visitor.text(f"/console/account/code/{organizer}")
    secret = re.search(r'name="secret" value="(\w{32})"', page)[1]
    assert secret != SECRET
    fields = {"membership": organizer, "secret": secret}
    for rubbish in ("1" * 32, "a" * 32, "é" * 32, "A" * 31 + "0", "A" * 31, "A" * 33, "A" * 32 + "\n"):
        assert visitor.post("/console/account/code", fields | {"secret": rubbish, "code": "000000"}).status_code == 400
    assert visitor.post("/console/account/code", fields | {"code": "000000"}).status_code == 400
    code = pyotp.TOTP(secret).at(int(small_world.clock.now().timestamp()))
    assert visitor.post("/console/account/code", fields | {"code": code}).status_code == 303

    def verdict() -> str:
        with small_world.store.write() as session:
            now = small_world.clock.now()
            return check_factor(session, now, organizer, pyotp.TOTP(secret).at(int(now.timestamp())))

    small_world.clock.advance(timedelta(minutes=5))
    assert verdict() == "not_yet"
    small_world.clock.advance(timedelta(days=1))
    assert verdict() == "right"
    assert verdict() == "wrong_code", "each code works once"


FOR_HER = "{collective}: a new app for codes was set up for you, good from tomorrow. Not you? Tell another organizer today."
FOR_THE_OTHERS = (
    "{collective}: somebody set up a new app for codes, good from tomorrow. Whose? Look in the console, Who did what, and ask her."
)
OTHER_SECRET = "KRSXG5CTMVRXEZLUKRSXG5CTMVRXEZLU"


def code_of(world: World, secret: str) -> str:
    """What an app with this secret shows now."""
    return pyotp.TOTP(secret).at(int(world.clock.now().timestamp()))


def verdict_on(world: World, member: int, secret: str) -> str:
    """What becomes of the code that an app with this secret shows now."""
    world.clock.advance(timedelta(minutes=2))
    with world.store.write() as session:
        return check_factor(session, world.clock.now(), member, code_of(world, secret))


def set_up(world: World, member: int, secret: str, old: str | None = None) -> int:
    """Send the form of another app; the answer's status."""
    fields = {"membership": member, "secret": secret, "code": code_of(world, secret)} | ({} if old is None else {"old": old})
    return Visitor(world, member).post("/console/account/code", fields).status_code


def test_another_app_needs_a_code_of_the_one_before(small_world: World, organizer: int) -> None:
    give_factor(small_world, organizer)
    assert 'name="old"' in Visitor(small_world, organizer).text(f"/console/account/code/{organizer}")
    for old in (None, "", "000000", code_of(small_world, OTHER_SECRET)):
        assert set_up(small_world, organizer, OTHER_SECRET, old) == 400
    assert verdict_on(small_world, organizer, SECRET) == "right"
    for _ in range(4):
        assert set_up(small_world, organizer, OTHER_SECRET, "000000") == 400
    assert set_up(small_world, organizer, OTHER_SECRET, code_of(small_world, SECRET)) == 400
    small_world.clock.advance(timedelta(minutes=2))
    assert set_up(small_world, organizer, OTHER_SECRET, "111111") == 400
    assert set_up(small_world, organizer, OTHER_SECRET, code_of(small_world, SECRET)) == 400, "locked after five wrong ones"


def test_the_app_before_goes_on_until_the_new_one_counts(small_world: World, organizer: int) -> None:
    give_factor(small_world, organizer)
    assert set_up(small_world, organizer, OTHER_SECRET, code_of(small_world, SECRET)) == 303
    assert verdict_on(small_world, organizer, OTHER_SECRET) == "wrong_code"
    assert verdict_on(small_world, organizer, SECRET) == "right", "nobody is locked out for a day"
    assert "until then the old one does" in Visitor(small_world, organizer).text("/console/account")
    assert set_up(small_world, organizer, OTHER_SECRET) == 303, "a form sent twice sets up one app"
    small_world.clock.advance(timedelta(days=1))
    assert verdict_on(small_world, organizer, SECRET) == "wrong_code"
    assert verdict_on(small_world, organizer, OTHER_SECRET) == "right"
    assert "until then" not in Visitor(small_world, organizer).text("/console/account")


def test_an_app_that_does_not_count_yet_can_be_set_up_anew_with_its_own_code(small_world: World, organizer: int) -> None:
    assert set_up(small_world, organizer, SECRET) == 303
    small_world.clock.advance(timedelta(hours=23))
    assert set_up(small_world, organizer, OTHER_SECRET) == 400
    assert set_up(small_world, organizer, OTHER_SECRET, code_of(small_world, SECRET)) == 303
    small_world.clock.advance(timedelta(hours=23))
    assert verdict_on(small_world, organizer, OTHER_SECRET) == "not_yet"
    small_world.clock.advance(timedelta(hours=1))
    assert verdict_on(small_world, organizer, OTHER_SECRET) == "right"


def test_she_and_the_other_organizers_hear_of_a_new_app(world: World) -> None:
    sangha = world.collective()
    hers = world.member(sangha, HERS, roles=["organizer"])
    world.member(sangha, "+15558800003", roles=["organizer"])
    world.member(sangha, PLAIN, roles=["supporter"])
    assert set_up(world, hers, SECRET) == 303
    carrier = ScriptedCarrier()
    pump_all(world, carrier, 5.0)
    said = {taken.to: taken.body for taken in carrier.taken}
    assert said.keys() == {HERS, "+15558800003"}
    assert said[HERS] == FOR_HER.format(collective="Sangha") and said["+15558800003"] == FOR_THE_OTHERS.format(collective="Sangha")
    world.clock.advance(timedelta(days=1))
    assert set_up(world, hers, OTHER_SECRET, code_of(world, SECRET)) == 303
    pump_all(world, carrier, 5.0)
    assert sorted(taken.to for taken in carrier.taken) == [HERS] * 2 + ["+15558800003"] * 2


def test_the_texts_about_a_new_app_fit_their_segments() -> None:
    for text in (FOR_HER, FOR_THE_OTHERS):
        for language, most in (("en", 1), ("es", 1), ("hi-Latn", 1), ("hi", 2)):
            assert count_segments(words(language, text, collective="Sangha of the North")).segments <= most


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("es-MX, en;q=0.5", "es"), ("fr, hi-IN;q=0.8, en;q=0.5", "hi"), ("hi-Latn, es;q=0.4", "en"), ("de", "en"), ("*", "en"), ("", "en")],
)
def test_a_page_speaks_the_first_language_of_the_browser_that_it_knows(small_world: World, asked: str, spoken: str) -> None:
    page = small_world.client.get("/console/login", headers={"Accept-Language": asked}).text
    assert f'<html lang="{spoken}">' in page
