"""``flask broadcast``: preview, keys, hold, release, correct, resend, and what status says while it waits."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.commands.broadcasts import Ahead, tell_preview
from bot.commands.steering import say_progress, watch_broadcast
from bot.delivery.broadcasts import hold_broadcast
from bot.delivery.costs import Estimate
from bot.delivery.previews import Preview
from bot.delivery.standing import read_standing, say_what_holds
from models import Audit, Broadcast, Collective, Line, Outbound
from tests.cli import Run, commands_of
from tests.delivery import change, rows, send_broadcast
from tests.world import World

TEXT = ("--collective", "SANGHA", "--text")


@pytest.fixture
def run(world: World) -> Run:
    return commands_of(world.deployment)


@pytest.fixture
def sangha(world: World) -> int:
    collective = world.collective(timezone="Asia/Kolkata")
    world.member(collective, "+15550004001")
    world.member(collective, "+15550004002", language="hi")
    world.member(collective, "+15550004003", language="es")
    return collective


def send(run: Run, *more: str, text: str = "We meet at six") -> str:
    result = run("broadcast", "send", *TEXT, text, "--yes", *more)
    assert result.exit_code == 0, result.output
    return result.stdout.strip().splitlines()[-1]


def status(run: Run, number: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run("broadcast", "status", number, "--json").output)
    return told


def acts(world: World) -> list[tuple[str, int | None]]:
    with world.store.read() as session:
        return [(row.act, row.membership_id) for row in session.scalars(sa.select(Audit).order_by(Audit.id))]


# --- preview ------------------------------------------------------------------------------------------------------------------


def test_a_preview_names_what_makes_it_dear(run: Run, sangha: int) -> None:
    told = json.loads(run("broadcast", "preview", *TEXT, "Rally ✊ café “now”", "--translation", "hi", "रैली", "--json").output)
    assert told["culprits"]["en"] == "✊“”" and set("रैली") <= set(told["culprits"]["hi"])
    assert told["by_language"] == {"en": 1, "hi": 1, "es": 1} and told["fallback"] == {"es": 1}
    assert told["cost_micros"] > 0 and told["left_out"] == {} and told["refused"] is None
    shown = run("broadcast", "preview", *TEXT, "Rally ✊ now").output
    assert "the text in en holds ✊ which takes UCS-2" in shown and "Costs about 0.0" in shown


def test_a_preview_for_later_knows_that_hour(run: Run, world: World, sangha: int) -> None:
    change(world, Collective, Collective.id == sangha, quiet_from=21, quiet_until=8)
    now = json.loads(run("broadcast", "preview", *TEXT, "Hello", "--json").output)
    night = json.loads(run("broadcast", "preview", *TEXT, "Hello", "--at", "2026-04-12T22:00", "--json").output)
    assert (now["held"], night["held"]) == ({}, {"quiet_hours": 3})


def test_a_preview_says_why_somebody_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    told = Preview(9, "GSM-7", 1, held={"window": 2}, left_out={"opted_out": 3, "paused": 1, "a new reason": 1})
    tell_preview(Ahead(told, Estimate(2_000_000, 1_500_000), None))
    shown = capsys.readouterr().out
    for line in ("3 more have texted STOP", "1 more have paused", "1 more a new reason", "2 wait until they write", "cap leaves 1.50"):
        assert line in shown


# --- send ----------------------------------------------------------------------------------------------------------------------


def test_the_same_key_sends_once(run: Run, world: World, sangha: int) -> None:
    first = send(run, "--key", "sunday")
    again = run("broadcast", "send", *TEXT, "Other words", "--key", "sunday", "--yes")
    assert again.exit_code == 0 and "already" in again.output and again.stdout.strip().splitlines()[-1] == first
    assert len(rows(world)) == 3 and send(run, "--key", "monday") != first


def test_an_early_text_is_marked_so(run: Run, world: World, sangha: int) -> None:
    early, ordinary = send(run, "--early"), send(run)
    with world.store.read() as session:
        assert session.get_one(Broadcast, int(early)).early and not session.get_one(Broadcast, int(ordinary)).early
    assert acts(world) == [("sent from the command line", None)] * 2


# --- hold, release, stop -----------------------------------------------------------------------------------------------------------


def test_hold_and_release(run: Run, world: World, sangha: int) -> None:
    number = send(run)
    assert run("broadcast", "hold", number).exit_code == 0
    assert status(run, number)["state"] == "held" and status(run, number)["hold_reason"] == "organizer"
    assert run("broadcast", "hold", number).exit_code == 1
    assert run("broadcast", "release", number).exit_code == 0
    assert status(run, number)["counts"]["queued"] == 3 and status(run, number)["hold_reason"] is None
    assert run("broadcast", "release", number).exit_code == 1
    assert run("broadcast", "stop", number).exit_code == 0
    assert [act for act, _ in acts(world)][1:] == ["held", "released", "dropped"]
    for act in ("hold", "release", "resend"):
        assert run("broadcast", act, "999").exit_code == 1


def test_a_hold_before_its_hour(run: Run, world: World, sangha: int) -> None:
    number = send(run, "--at", "2026-04-12T18:00")
    assert "It leaves at 2026-04-12 12:30 UTC" in run("broadcast", "status", number).output
    assert run("broadcast", "hold", number).exit_code == 0
    assert status(run, number)["state"] == "held"


# --- correct, resend -----------------------------------------------------------------------------------------------------------------


def test_a_correction_from_the_command_line(run: Run, world: World, sangha: int) -> None:
    old = send(run)
    result = run("broadcast", "correct", old, "--text", "We meet at seven", "--translation", "es", "Nos vemos a las siete", "--yes")
    assert result.exit_code == 0, result.output
    new = result.stdout.strip().splitlines()[-1]
    assert status(run, old)["state"] == "stopped" and status(run, old)["corrected_by"] == int(new)
    assert status(run, new)["corrects"] == int(old) and status(run, new)["counts"]["queued"] == 3
    assert f"corrected by broadcast {new}" in run("broadcast", "status", old).output
    again = run("broadcast", "correct", old, "--text", "We meet at eight", "--yes")
    assert again.exit_code == 1 and f"flask broadcast correct {new}" in again.output
    assert ("broadcast 1 corrected", None) in acts(world)


@pytest.mark.parametrize(("more", "code"), [((), 2), (("--yes", "--text", ""), 1), (("--yes", "--text", "x" * 1600), 1)])
def test_a_correction_that_is_refused_leaves_the_first_alone(run: Run, sangha: int, more: tuple[str, ...], code: int) -> None:
    old = send(run)
    result = run("broadcast", "correct", old, "--text", "We meet at seven", *more)
    assert result.exit_code == code, result.output
    assert status(run, old)["state"] == "sending" and status(run, old)["counts"]["queued"] == 3


def test_resend_from_the_command_line(run: Run, world: World, sangha: int) -> None:
    number = send(run)
    change(world, Outbound, Outbound.broadcast_id == int(number), state="delivered")
    lost = rows(world)[0].id
    change(world, Outbound, Outbound.id == lost, state="unknown", checks=1, check_at=world.clock.now())
    early = run("broadcast", "resend", number)
    assert early.exit_code == 1 and "still being looked up" in early.output
    change(world, Outbound, Outbound.id == lost, checks=2, check_at=None)
    assert "1 message will be sent once more" in run("broadcast", "resend", number).output
    assert status(run, number)["resent"] == 0 and status(run, number)["counts"]["queued"] == 1
    assert run("broadcast", "resend", number).exit_code == 1
    change(world, Outbound, Outbound.id == lost, state="sent", attempt=2)
    assert status(run, number)["resent"] == 1


# --- what waits for another try -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tried(run: Run, world: World, sangha: int) -> str:
    """A broadcast that is done: one phone was off, and is tried again in an hour."""
    number = send(run)
    change(world, Outbound, Outbound.broadcast_id == int(number), state="delivered", attempt=1)
    again = {"state": "held", "reason": "retry", "error_code": 30003, "resent": True, "due_at": world.clock.now() + timedelta(hours=1)}
    change(world, Outbound, Outbound.id == rows(world)[0].id, **again)
    change(world, Broadcast, Broadcast.id == int(number), state="done", done_at=world.clock.now())
    return number


def test_one_that_is_done_says_who_is_tried_again(run: Run, tried: str) -> None:
    told = status(run, tried)
    assert (told["state"], told["resent"], told["waiting"]) == ("done", 0, {"retry": 1})
    for more in ((), ("--watch",)):
        shown = run("broadcast", "status", tried, *more).output
        assert "1 waits for another try, the first at 2026-04-12 10:00 UTC." in shown, shown


def test_what_left_once_is_not_counted_as_what_will_not_leave(run: Run, world: World, tried: str) -> None:
    change(world, Outbound, Outbound.id == rows(world)[1].id, state="queued", attempt=0)
    shown = run("broadcast", "stop", tried).output
    assert "Stopped: 1 message will not leave." in shown
    assert "1 message had left once and waited for another try: there is none." in shown
    assert status(run, tried)["counts"]["stopped"] == 2


# --- its two numbers -----------------------------------------------------------------------------------------------------


def test_status_says_which_number_is_for_whom(run: Run, world: World, sangha: int) -> None:
    tenants = world.collective("TENANTS")
    world.member(tenants, "+15550004009")
    assert send(run) == "1"
    made = run("broadcast", "send", "--collective", "TENANTS", "--text", "We meet at six", "--yes").stdout.strip().splitlines()[-1]
    shown = run("broadcast", "status", made).output
    assert shown.startswith("Broadcast 2: sending,")
    assert "  2 is its number in these commands; organizers text 1 (STATUS 1).\n" in shown


# --- what holds it -----------------------------------------------------------------------------------------------------


def holding(world: World, broadcast: int) -> str:
    with world.store.read() as session:
        return " ".join(say_what_holds(read_standing(session, world.clock.now(), broadcast), world.clock.now()))


def test_status_says_what_holds_it(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    mine = Outbound.broadcast_id == broadcast
    assert holding(world, broadcast) == ""
    change(world, Line, Line.id == 1, proven_at=None)
    assert "A few go first" in holding(world, broadcast)
    change(world, Line, Line.id == 1, held_until=world.clock.now() + timedelta(minutes=10), held_code=30034)
    assert "Line +15550001111 rests until 2026-04-12 09:10 UTC. The number is not registered" in holding(world, broadcast)
    change(world, Outbound, mine, state="held", reason="quiet_hours", due_at=world.clock.now() + timedelta(hours=3))
    assert "3 wait until 2026-04-12 12:00 UTC: It is night where she is" in holding(world, broadcast)
    change(world, Outbound, mine, state="held", reason="cap")
    assert "3 wait: The month's money is spent." in holding(world, broadcast)
    change(world, Outbound, mine, state="queued", reason=None)
    with world.store.write() as session:
        hold_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast), reason="filtered", code=30007)
    assert holding(world, broadcast).startswith("Held. Carriers take")
    assert f"flask broadcast release {broadcast}" in holding(world, broadcast)


def test_status_says_in_words_what_went_wrong(run: Run, world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    some = [each.id for each in rows(world, broadcast)]
    change(world, Outbound, Outbound.id.in_(some[:2]), state="undelivered", error_code=30005)
    change(world, Outbound, Outbound.id == some[2], state="failed", error_code=21211)
    shown = run("broadcast", "status", str(broadcast)).output
    assert "2  This number does not exist any more. Ask her for the new one. (30005)" in shown
    assert shown.index("30005") < shown.index("21211")
    assert status(run, str(broadcast))["errors"] == {"30005": 2, "21211": 1}


def test_a_watch_shows_each_look_and_ends(world: World, sangha: int) -> None:
    broadcast = send_broadcast(world, sangha)
    now, shown = world.clock.now(), []

    def look() -> Any:
        with world.store.read() as session:
            return read_standing(session, now, broadcast)

    def looks() -> Any:
        yield look(), now, 100.0
        change(world, Outbound, Outbound.id.in_([each.id for each in rows(world, broadcast)][:2]), state="accepted")
        yield look(), now, 104.0
        change(world, Outbound, Outbound.broadcast_id == broadcast, state="delivered")
        change(world, Outbound, Outbound.id == rows(world, broadcast)[0].id, state="failed")
        change(world, Broadcast, Broadcast.id == broadcast, state="done", done_at=now)
        yield look(), now, 105.0

    last = watch_broadcast(looks(), shown.append)
    assert last.is_over
    assert shown == [
        f"Broadcast {broadcast}: sending, 0 of 3.",
        f"Broadcast {broadcast}: sending, 2 of 3, 0.5 a second.",
        f"Broadcast {broadcast}: done, 3 of 3. 1 failed.",
    ]
    assert say_progress(last, now, 9.0).count("a second") == 0, "what is over has no pace"
