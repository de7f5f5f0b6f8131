"""A power cut at every window that matters: the process dies there, another takes over, and nothing is lost, doubled or forgotten.

A point in the code without a case here, or a case without a point, is a red test.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot.delivery.gateway import Gateway
from bot.delivery.pump import MOST_IN_FLIGHT
from models import Inbound, Line, Membership, Outbound, PhoneLine
from models.messages import ACCEPTED, CLAIMED, DELIVERED, UNKNOWN
from tests.delivery import add_many_members, change, pump_all, put_letter, rows, send_broadcast, states
from tests.faults import invariants
from tests.faults.ground import LINE, Ground
from tests.waiting import wait_for
from tests.world import new_sid

ROOT = Path(__file__).resolve().parents[2]
ASHA, BELA, CARLA = "+15551000001", "+15551000002", "+15551000003"
MEMBERS, CHUNK = 12, 5


@dataclass(frozen=True)
class Cut:
    """One case: where it dies (``point``, perhaps with ``:n``), in which story, whether it leaves a send in doubt (None: it may)."""

    point: str
    story: Callable[[Ground, Cut], None]
    leaves_doubt: bool | None = False

    def __str__(self) -> str:
        return self.point


# --- the worker -----------------------------------------------------------------------------------------------------------


def a_broadcast(ground: Ground, cut: Cut) -> None:
    """A notice to twelve members and a page to a supporter; the worker dies at the point, and another one goes on."""
    collective = people(ground)
    number = ground.approve(collective)
    supporter = ground.world.member(collective, ASHA, roles=["supporter"])
    page = put_letter(ground.world, supporter, "Somebody needs a peer", kind="page")
    die_and_go_on(ground, cut)
    expected = MEMBERS + 1
    found = states(ground.world, number)
    assert len(found) == expected, "everybody is planned once"
    sends = invariants.sends_by_row(ground.store, ground.callbacks())
    doubtful = [row.id for row in rows(ground.world) if row.state == UNKNOWN]
    assert {row.state for row in rows(ground.world)} <= {ACCEPTED, UNKNOWN}
    assert sends[page] <= 1
    assert len(doubtful) <= MOST_IN_FLIGHT
    if cut.leaves_doubt:
        assert doubtful
    elif cut.leaves_doubt is False:
        assert not doubtful, "nothing had left when it died: all of it goes later, once"
        assert len(sends) == expected + 1
    ground.check([number])


def a_dead_claim(ground: Ground, cut: Cut) -> None:
    """What another dead pump had claimed is there again; this worker dies half way through its sweep."""
    number = send_broadcast(ground.world, people(ground))
    change(ground.world, Outbound, state=CLAIMED, fence=1, lease_until=1.0)
    die_and_go_on(ground, cut)
    assert states(ground.world, number) == [ACCEPTED] * MEMBERS
    ground.check([number])


def people(ground: Ground) -> int:
    ground.world.line(LINE, mps=500.0)
    collective = ground.world.collective(lines=[LINE])
    add_many_members(ground.world, collective, MEMBERS)
    return collective


def answers_that_were_lost(ground: Ground, cut: Cut) -> None:
    """The carrier took everything and answered 500; a worker dies while it looks them up, another one brings them all home."""
    number = send_broadcast(ground.world, people(ground))
    ground.carrier.faults(accept_500=True)
    pump_all(ground.world, Gateway(ground.settings))
    ground.carrier.clear_faults()
    assert states(ground.world, number) == [UNKNOWN] * MEMBERS
    change(ground.world, Outbound, check_at=ground.world.clock.now())
    die_and_go_on(ground, cut)
    wait_for(lambda: UNKNOWN not in states(ground.world, number), "what was lost", 30.0)
    assert ground.carrier.count() == MEMBERS, "nothing is sent again that is in the list"
    ground.check([number])


def texts_that_no_webhook_brought(ground: Ground, cut: Cut) -> None:
    """Nobody listens for a while; a worker dies while it takes in what it missed, another one goes on: each once, STOP first."""
    collective = people(ground)
    ground.world.member(collective, BELA, spoke_on=LINE)
    change(ground.world, Line, read_through=ground.world.clock.now() - timedelta(hours=1))
    texts = {ASHA: "JOIN SANGHA", BELA: "STOP", CARLA: "JOIN SANGHA"}
    assert [ground.text(number, body).status for number, body in texts.items()] == [0, 0, 0]
    die_and_go_on(ground, cut)
    wait_for(lambda: ground.inbound() == 3, "the missed texts", 30.0)
    with ground.store.read() as session:
        handled = session.scalars(sa.select(Inbound.handled_as).order_by(Inbound.id)).all()
        assert session.scalars(sa.select(PhoneLine.opted_out_by).where(PhoneLine.opted_out_at.is_not(None))).all() == ["carrier"]
    assert (handled[0], ground.count(Membership)) == ("STOP", MEMBERS + 3)
    ground.check()


def die_and_go_on(ground: Ground, cut: Cut) -> None:
    worker = ground.worker(crash_at=cut.point, chunk=CHUNK, settled=0)
    assert worker.wait_for_its_end() == 137, worker.tell()
    invariants.check_the_ledger(ground.store, ground.callbacks())
    ground.let_leases_run_out()
    ground.worker(chunk=CHUNK, settled=0)
    ground.wait_until_settled()
    invariants.check_nothing_in_limbo(ground.store)


# --- the web server -------------------------------------------------------------------------------------------------------


def a_text(ground: Ground, cut: Cut) -> None:
    """She joins; the answer never comes; Twilio's second try, and its third, have one effect and one answer."""
    ground.world.collective(lines=[LINE])
    sid = new_sid()
    web = ground.web(crash_at=cut.point)
    assert ground.text(ASHA, "JOIN SANGHA", sid).status == 0
    committed = cut.point == "inbound.after_commit"
    assert [ground.inbound(), ground.count(Membership)] == [committed, committed], "all of it or nothing"
    web.kill()
    ground.web()
    answers = [ground.text(ASHA, "JOIN SANGHA", sid) for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert "Welcome to Sangha" in answers[0].replies[0]
    assert [ground.inbound(), ground.count(Membership), ground.count(Outbound)] == [1, 1, 1]
    ground.check()


def a_text_that_nobody_repeats(ground: Ground, cut: Cut) -> None:
    """The carrier gave up: the worker finds her text in its list, and answers through the outbox."""
    ground.world.line(LINE, mps=500.0, read_through=ground.world.clock.now() - timedelta(hours=1))
    ground.world.collective(lines=[LINE])
    web = ground.web(crash_at=cut.point)
    assert ground.text(ASHA, "JOIN SANGHA").status == 0
    web.kill()
    ground.worker(settled=0)
    wait_for(lambda: [row.state for row in rows(ground.world)] == [ACCEPTED], "the answer", 30.0)
    assert [ground.inbound(), ground.count(Membership), ground.carrier.count(to=ASHA)] == [1, 1, 1]
    ground.check()


def a_receipt(ground: Ground, cut: Cut) -> None:
    """The receipt comes, the server dies over it; the next one for the same message sets things right, and it never falls again."""
    number = send_broadcast(ground.world, people(ground))
    worker = ground.worker()
    wait_for(lambda: states(ground.world, number) == [ACCEPTED] * MEMBERS, "the sending", 30.0)
    worker.kill()
    path = "/twilio/status/" + ground.callbacks()[0].rsplit("/", 1)[-1]
    web = ground.web(crash_at=cut.point)
    assert ground.post(path, {"MessageStatus": "delivered", "MessageSid": new_sid()}) == 0
    web.kill()
    assert states(ground.world, number).count(DELIVERED) == (cut.point == "receipt.after_commit")
    ground.climb.check()
    ground.web()
    assert ground.post(path, {"MessageStatus": "delivered", "MessageSid": new_sid()}) == 204
    assert ground.post(path, {"MessageStatus": "sent", "MessageSid": new_sid()}) == 204
    assert states(ground.world, number).count(DELIVERED) == 1
    ground.check([number])


# Nothing had left when it died: all of it goes later, once.
NOTHING_HAD_LEFT = [
    Cut("timer.claimed", a_broadcast),
    Cut("plan.between_chunks", a_broadcast),
    Cut("plan.between_chunks:2", a_broadcast),
    # The pump of the same process may have begun with what was planned.
    Cut("timer.before_done", a_broadcast, leaves_doubt=None),
    Cut("bell.answered", a_broadcast),
    Cut("pump.after_claim", a_broadcast),
    Cut("outcomes.after_commit", a_broadcast, leaves_doubt=None),
    Cut("sweep.half_way", a_dead_claim),
]
# It may have left: unknown, and settled by its class.
IN_DOUBT = [
    Cut("pump.after_mark", a_broadcast, leaves_doubt=True),
    Cut("sender.before_post", a_broadcast, leaves_doubt=True),
    Cut("sender.before_post:3", a_broadcast, leaves_doubt=True),
    Cut("sender.after_post", a_broadcast, leaves_doubt=True),
    Cut("sender.after_post:3", a_broadcast, leaves_doubt=True),
    Cut("outcomes.before_commit", a_broadcast, leaves_doubt=True),
    Cut("reconcile.before_commit", answers_that_were_lost),
]
TEXTS_LOST = [Cut("inbound.before_commit", a_text), Cut("inbound.before_commit", a_text_that_nobody_repeats)]
MISSED = [Cut("backfill.before_commit", texts_that_no_webhook_brought)]
TEXTS_KEPT = [Cut("inbound.after_commit", a_text)]
RECEIPTS = [Cut("receipt.before_commit", a_receipt), Cut("receipt.after_commit", a_receipt)]
CASES = [*NOTHING_HAD_LEFT, *IN_DOUBT, *TEXTS_LOST, *TEXTS_KEPT, *MISSED, *RECEIPTS]


@pytest.mark.parametrize("cut", NOTHING_HAD_LEFT, ids=str)
def test_o1_a_power_cut_before_anything_left(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


@pytest.mark.parametrize("cut", IN_DOUBT, ids=str)
def test_o2_a_power_cut_between_the_send_and_its_record(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


@pytest.mark.parametrize("cut", TEXTS_LOST, ids=str)
def test_i1_a_power_cut_before_the_commit(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


@pytest.mark.parametrize("cut", TEXTS_KEPT, ids=str)
def test_i2_a_power_cut_after_the_commit(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


@pytest.mark.parametrize("cut", MISSED, ids=str)
def test_i8_a_power_cut_while_missed_texts_are_taken_in(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


@pytest.mark.parametrize("cut", RECEIPTS, ids=str)
def test_o7_a_power_cut_over_a_receipt(ground: Ground, cut: Cut) -> None:
    cut.story(ground, cut)


# --- the law --------------------------------------------------------------------------------------------------------------


def points_in_the_code() -> set[str]:
    """Every name given to ``crashpoint``; each must be a plain string, else nobody could list them."""
    found = set()
    folders = [path for room in ("bot", "flows", "models") for path in sorted((ROOT / room).rglob("*.py"))]
    for path in [*folders, ROOT / "worker.py", ROOT / "wsgi.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "crashpoint":
                (name,) = node.args
                assert isinstance(name, ast.Constant) and isinstance(name.value, str), f"{path.name}:{node.lineno}: name it plainly"
                found.add(name.value)
    return found


def test_every_crashpoint_has_a_case_and_every_case_a_point() -> None:
    tried = {cut.point.partition(":")[0] for cut in CASES}
    points = points_in_the_code()
    assert not points - tried, "the code may die here, and no case shows what then: add one to CASES"
    assert not tried - points, "these cases die nowhere"
