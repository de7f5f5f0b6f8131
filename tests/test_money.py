"""Money: what a text costs, what a month may cost, who waits when it is spent and who never does, and what it really was."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from bot.delivery import costs
from bot.delivery import money as money_module
from bot.delivery.bell import MARK
from bot.delivery.broadcasts import draft_broadcast
from bot.delivery.caps import let_go, look_after_caps, set_cap
from bot.delivery.costs import (
    Estimate,
    correct_price,
    correct_prices,
    cost_of_broadcast,
    estimate_cost,
    last_id_before,
    price_replies,
)
from bot.delivery.gateway import Accepted, Outcome, Refused, Throttled
from bot.delivery.kinds import LANES
from bot.delivery.money import CAPPED_LANES, Purse, add_spending, broadcast_limit, money_left, month_of, next_month
from bot.delivery.prices import BUILT_IN, PriceTable, country_of, read_prices
from bot.delivery.pump import serve_lines
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.deployment import Deployment
from bot.upkeep.retention import purge
from models import Audit, Broadcast, Collective, Line, Outbound, Price, Spending
from models.messages import HELD
from tests.cli import commands_of
from tests.delivery import ScriptedCarrier, add_many_members, change, pump_all, put_letter, row, rows, send_broadcast, states
from tests.waiting import wait_for
from tests.world import ACCOUNT, World, new_sid

LINE, WHATSAPP = "+15550001111", "whatsapp:+15550003333"
US, GB, IN = BUILT_IN["sms", "US"], BUILT_IN["sms", "GB"], BUILT_IN["sms", "IN"]


@pytest.fixture
def sangha(world: World) -> int:
    """A collective on a fast line."""
    world.line(LINE, mps=2000.0, country="US")
    return world.collective(lines=[LINE])


def cap(world: World, collective: int, texts_allowed: int) -> int:
    """A cap under which so many one-segment texts to the United States may be broadcast; returns it."""
    micros = 10 * US * texts_allowed // 9 - 5
    assert (texts_allowed - 1) * US < broadcast_limit(micros) <= texts_allowed * US
    change(world, Collective, Collective.id == collective, monthly_cap_micros=micros)
    return micros


@pytest.fixture(autouse=True)
def _small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least reserve would be more than all of these few texts."""
    monkeypatch.setattr(money_module, "LEAST_RESERVE", 0)


def spending(world: World, collective: int) -> list[tuple[str, int, int, int]]:
    with world.store.read() as session:
        found = session.scalars(sa.select(Spending).where(Spending.collective_id == collective).order_by(Spending.month))
        return [(each.month, each.micros, each.segments, each.messages) for each in found]


def spend(world: World, collective: int, micros: int, now: datetime | None = None) -> None:
    with world.store.write() as session:
        add_spending(session, world.store, now or world.clock.now(), {collective: (micros, 1, 1)})


def reports(world: World) -> list[str]:
    with world.store.read() as session:
        return list(session.scalars(sa.select(Outbound.body).where(Outbound.kind == "report").order_by(Outbound.id)))


# --- prices ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12125550100", "US"), ("+16045550100", "CA"), ("+18765550100", "JM"), ("+17875550100", "PR"), ("+15550001111", "US"),
        ("+919812345678", "IN"), ("+447911123456", "GB"), ("+525512345678", "MX"), ("+79165550100", "RU"), ("+77015550100", "KZ"),
        ("+358401234567", "FI"), ("+8835100", ""), ("+99", ""), ("+1", "US"), ("+", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_numbers_country_is_told_by_its_first_digits(number: str, country: str) -> None:
    assert country_of(number) == country


def test_the_operators_price_goes_first_then_the_countrys_then_everywhere_elses() -> None:
    table = PriceTable({("sms", "US"): 9_000, ("sms", ""): 1})
    assert table.cost("sms", "US", 3) == 27_000
    assert table.cost("sms", "IN", 1) == IN, "a price for everywhere else is not one for a listed country"
    assert table.cost("sms", "TV", 2) == table.cost("sms", "", 2) == 2
    assert PriceTable().cost("sms", "TV", 1) == BUILT_IN["sms", ""]


def test_whatsapp_is_paid_by_the_message_and_a_template_costs_more() -> None:
    table = PriceTable()
    assert table.cost("whatsapp", "IN", 5) == table.cost("whatsapp", "IN", 1) == 5_000
    assert table.cost("template", "IN", 5) == table.cost("template", "IN", 1) > 5_000
    with pytest.raises(KeyError):
        table.cost("pigeon", "IN", 1)


def test_a_purse_knows_the_prices_of_this_account(world: World) -> None:
    with world.store.write() as session:
        session.add(Price(channel="sms", country="IN", micros=75_000, changed_at=world.clock.now()))
        purse = Purse(world.store)
        session.flush()
        purse.begin(session)
    assert (purse.price("sms", "+919812345678", 2), purse.price("sms", "+12125550100", 2)) == (150_000, 2 * US)


# --- what was accepted is added up -------------------------------------------------------------------------------------------


def test_what_the_carrier_takes_is_added_to_row_and_month(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100")
    world.member(sangha, "+447911123456", language="es")
    number = send_broadcast(world, sangha, {"en": "Rally today", "es": "Marcha hoy " * 20})
    pump_all(world, ScriptedCarrier())
    costs = {each.segments: each.cost_micros for each in rows(world, number)}
    assert costs == {1: US, 2: 2 * GB}
    assert spending(world, sangha) == [("2026-04", US + 2 * GB, 3, 2)]
    with world.store.read() as session:
        assert cost_of_broadcast(session, number) == (US + 2 * GB, 1.0)


def test_what_is_refused_costs_nothing(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100")
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier(lambda _to, _n: Refused(21211)))
    assert [(each.state, each.cost_micros) for each in rows(world, number)] == [("failed", None)]
    assert spending(world, sangha) == []
    with world.store.read() as session:
        assert cost_of_broadcast(session, number) == (0, 0.0)


def test_a_second_attempt_costs_a_second_time(world: World, sangha: int) -> None:
    letter = put_letter(world, world.member(sangha, "+12125550100"))
    pump_all(world, ScriptedCarrier())
    change(world, Outbound, Outbound.id == letter, state="queued")
    pump_all(world, ScriptedCarrier())
    assert row(world, letter).cost_micros == 2 * US and spending(world, sangha) == [("2026-04", 2 * US, 2, 2)]


def test_two_collectives_on_one_line_pay_each_their_own(world: World, sangha: int) -> None:
    other = world.collective("OTHER", lines=[LINE])
    for number in range(3):
        world.member(sangha, f"+1212555010{number}")
    world.member(other, "+12125550200")
    send_broadcast(world, sangha), send_broadcast(world, other)
    pump_all(world, ScriptedCarrier())
    assert spending(world, sangha) == [("2026-04", 3 * US, 3, 3)] and spending(world, other) == [("2026-04", US, 1, 1)]


def test_spending_adds_up_and_a_collective_that_is_gone_stops_nobody(world: World, sangha: int) -> None:
    with world.store.write() as session:
        add_spending(session, world.store, world.clock.now(), {sangha: (5, 2, 1), 999: (7, 1, 1)})
        add_spending(session, world.store, world.clock.now(), {sangha: (6, 1, 1)})
        add_spending(session, world.store, world.clock.now(), {})
    assert spending(world, sangha) == [("2026-04", 11, 3, 2)] and spending(world, 999) == []


# --- the cap ---------------------------------------------------------------------------------------------------------------


def test_the_cap_holds_within_a_batch_at_full_pace(world: World, sangha: int) -> None:
    """One pump in sole charge does not overshoot by a single text, though it marks far more than that at a time."""
    add_many_members(world, sangha, 200)
    cap(world, sangha, 30)
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert len(carrier.taken) == 30
    waiting = [each for each in rows(world, number) if each.state == HELD]
    assert len(waiting) == 170 and {(each.reason, each.due_at) for each in waiting} == {("cap", datetime(2026, 5, 1, tzinfo=UTC))}
    assert spending(world, sangha) == [("2026-04", 30 * US, 30, 30)]


def test_what_is_in_flight_counts_as_spent(world: World, sangha: int) -> None:
    """While the carrier has answered nothing yet, no more leaves than the cap allows."""
    add_many_members(world, sangha, 60)
    cap(world, sangha, 10)
    number = send_broadcast(world, sangha)
    answered = threading.Event()

    def answer_late(_to: str, _number: int) -> Outcome:
        answered.wait(20)
        return Accepted(new_sid())

    carrier = ScriptedCarrier(answer_late)
    pump = threading.Thread(target=serve_lines, args=(world.deployment, carrier, threading.Event(), 15.0))
    pump.start()
    try:
        wait_for(lambda: states(world, number).count(HELD) == 50, "the rest is held")
        assert len(carrier.taken) <= 10
    finally:
        answered.set()
        pump.join()
    assert len(carrier.taken) == 10


def test_what_the_carrier_did_not_take_frees_its_money(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 40)
    cap(world, sangha, 10)
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier(lambda _to, number: Throttled() if number <= 5 else Accepted(new_sid()))
    pump_all(world, carrier)
    let_go(world.store, sangha)
    pump_all(world, carrier)
    assert states(world, number).count("accepted") == 10


@pytest.mark.parametrize("kind", sorted(LANES))
def test_only_broadcasts_and_polls_wait_for_money(world: World, sangha: int, kind: str) -> None:
    member = world.member(sangha, "+12125550100")
    cap(world, sangha, 1)
    spend(world, sangha, 10**9)
    letter = put_letter(world, member, "Words", kind)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    if kind in ("poll", "result", "notice", "alert", "knock"):
        assert (row(world, letter).state, row(world, letter).reason, len(carrier.taken)) == (HELD, "cap", 0)
        assert LANES[kind] in CAPPED_LANES
    else:
        assert (row(world, letter).state, len(carrier.taken)) == ("accepted", 1)
        assert LANES[kind] not in CAPPED_LANES


def test_a_broadcast_goes_on_when_the_cap_is_raised(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 12)
    cap(world, sangha, 5)
    number = send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert len(carrier.taken) == 5
    flask = commands_of(world.deployment)
    result = flask("money", "cap", "--collective", "sangha", "50.00")
    assert result.exit_code == 0 and "SANGHA may spend 50.00 a month" in result.output and "7 texts no longer wait" in result.output
    pump_all(world, carrier)
    assert len(carrier.taken) == 12 and set(states(world, number)) == {"accepted"}
    with world.store.read() as session:
        acts = session.execute(sa.select(Audit.act, Audit.subject).where(Audit.collective_id == sangha)).all()
    assert ("monthly cap set", "50.00") in [tuple(act) for act in acts]


def test_a_broadcast_goes_on_when_the_month_turns(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 8)
    cap(world, sangha, 5)
    world.clock.freeze(datetime(2026, 4, 30, 20, 0, tzinfo=UTC))
    send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    sweep(world.store)
    assert pump_all(world, carrier) == 0 and len(carrier.taken) == 5
    world.clock.freeze(datetime(2026, 5, 1, 0, 0, tzinfo=UTC))
    assert sweep(world.store).released == 3
    pump_all(world, carrier)
    assert len(carrier.taken) == 8
    assert spending(world, sangha) == [("2026-04", 5 * US, 5, 5), ("2026-05", 3 * US, 3, 3)]


def test_a_raised_cap_is_seen_by_a_pump_that_has_just_said_no(world: World, sangha: int) -> None:
    cap(world, sangha, 1)
    spend(world, sangha, 10**9)
    purse, now = Purse(world.store), world.clock.now()
    with world.store.write() as session:
        purse.begin(session)
        assert purse.is_spent(session, sangha, now)
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=None)
    with world.store.write() as session:
        purse.begin(session)
        assert not purse.is_spent(session, sangha, now)


def test_a_turn_that_was_rolled_back_took_nothing(world: World, sangha: int) -> None:
    cap(world, sangha, 2)
    purse, now = Purse(world.store), world.clock.now()
    with world.store.write() as session:
        purse.begin(session)
        assert not purse.is_spent(session, sangha, now)
        purse.take(sangha, 1, 1, 2 * US)
        assert purse.is_spent(session, sangha, now), "the rest of the batch is held"
        purse.begin(session)  # the transaction before this one failed
        assert not purse.is_spent(session, sangha, now)
        purse.take(sangha, 1, 1, 2 * US)
        purse.keep()
        purse.begin(session)
        assert purse.is_spent(session, sangha, now)
        purse.settle(1, 1, accepted=False)
        purse.settle(1, 1, accepted=False)
        assert not purse.is_spent(session, sangha, now)


def test_an_outcome_is_not_counted_twice(world: World, sangha: int) -> None:
    """Settled in one turn and read from the database in the next."""
    cap(world, sangha, 3)
    purse, now = Purse(world.store), world.clock.now()
    with world.store.write() as session:
        purse.begin(session)
        assert not purse.is_spent(session, sangha, now)
        purse.take(sangha, 1, 1, 2 * US)
        purse.keep()
        purse.begin(session)
        add_spending(session, world.store, now, {sangha: (2 * US, 2, 2)})
        purse.settle(1, 1, accepted=True)
        assert not purse.is_spent(session, sangha, now)
        purse.take(sangha, 2, 1, US)
        assert purse.is_spent(session, sangha, now), "read anew, because it was about to say no"
        purse.begin(session)
        assert not purse.is_spent(session, sangha, now)


def test_without_a_cap_nothing_waits(world: World, sangha: int) -> None:
    spend(world, sangha, 10**15)
    with world.store.write() as session:
        assert not Purse(world.store).is_spent(session, sangha, world.clock.now())
        assert not Purse(world.store).is_spent(session, None, world.clock.now())
        assert money_left(session, sangha, world.clock.now()) is None


def test_the_reserve_is_a_tenth_and_at_least_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(money_module, "LEAST_RESERVE", 1_000_000)
    assert broadcast_limit(50_000_000) == 45_000_000
    assert broadcast_limit(5_000_000) == 4_000_000, "at least 1.00"
    assert broadcast_limit(1_000_000) == 500_000, "but no more than half of it"
    assert broadcast_limit(0) == 0


def test_months_are_utc() -> None:
    assert month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == "2026-12"
    assert month_of(datetime.fromisoformat("2027-01-01T02:00:00+05:30")) == "2026-12"
    assert next_month(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(datetime(2026, 1, 31, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)


# --- the organizers are told ---------------------------------------------------------------------------------------------------


def test_organizers_are_warned_once_at_four_fifths(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100", roles=("organizer",))
    world.member(sangha, "+12125550101", roles=("organizer",), language="es")
    world.member(sangha, "+12125550102")
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=50_000_000)
    spend(world, sangha, 39_999_999)
    assert look_after_caps(world.deployment) == 0
    spend(world, sangha, 1)
    assert look_after_caps(world.deployment) == 2
    english, spanish = reports(world)
    assert english == "Sangha: texts cost 40.00 of 50.00 this month. At 45.00 notices wait for next month, unless the cap is raised."
    assert spanish.startswith("Sangha: los mensajes de este mes costaron 40.00 de 50.00")
    spend(world, sangha, 1_000_000)
    assert look_after_caps(world.deployment) == 0
    with world.store.write() as session:
        set_cap(session, world.clock.now(), sangha, 51_000_000)
    assert look_after_caps(world.deployment) == 2, "another cap is another warning"


def test_organizers_are_told_once_that_the_rest_waits(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100", roles=("organizer",))
    add_many_members(world, sangha, 10)
    micros = cap(world, sangha, 4)
    send_broadcast(world, sangha)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert look_after_caps(world.deployment) == 1 and look_after_caps(world.deployment) == 0
    assert reports(world) == [
        f"Sangha: the money for texts is spent ({4 * US / 1e6:.2f} of {micros / 1e6:.2f})."
        " Notices wait for next month, or until the cap is raised."
    ]
    pump_all(world, carrier)
    assert "the money for texts is spent" in carrier.bodies[-1], "this text is not held for money"


def test_what_need_not_wait_any_more_is_let_go(world: World, sangha: int) -> None:
    """The cap was changed by another way, or a pump held a row just while it was raised."""
    add_many_members(world, sangha, 10)
    cap(world, sangha, 4)
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    look_after_caps(world.deployment)
    assert states(world, number).count(HELD) == 6
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=None)
    look_after_caps(world.deployment)
    assert states(world, number).count("queued") == 6
    assert {each.due_at for each in rows(world, number) if each.state == "queued"} == {world.clock.now()}


def test_a_few_cents_less_let_nobody_go(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 120)
    cap(world, sangha, 100)
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    with world.store.write() as session:
        correct_price(world.store, session, next(each.id for each in rows(world, number) if each.state == "accepted"), 0)
        assert money_left(session, sangha, world.clock.now()) > 0
    look_after_caps(world.deployment)
    assert states(world, number).count(HELD) == 20


def test_the_bell_is_rung_for_what_is_told_and_let_go(world: World, sangha: int, redis_url: str) -> None:
    bell = Redis.from_url(redis_url)
    bell.flushdb()
    add_many_members(world, sangha, 6)
    cap(world, sangha, 4)
    send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    deployment = Deployment(world.deployment.settings.model_copy(update={"redis_url": redis_url}), world.store)
    look_after_caps(deployment)
    assert not bell.exists(MARK), "nobody to tell, nothing to let go"
    change(world, Collective, Collective.id == sangha, monthly_cap_micros=None)
    look_after_caps(deployment)
    assert bell.exists(MARK)


# --- what a broadcast would cost ---------------------------------------------------------------------------------------------


def estimate(world: World, collective: int, texts: dict[str, str]) -> Estimate:
    with world.store.write() as session:
        drafted = draft_broadcast(session, world.clock.now(), collective, "notice", texts)
        return estimate_cost(world.store, session, world.clock.now(), drafted)


def test_an_estimate_multiplies_segments_by_the_prices_of_her_country(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100")
    world.member(sangha, "+447911123456", language="es")
    world.member(sangha, "+919812345678", language="es")
    texts = {"en": "Rally today", "es": "Marcha hoy " * 20}
    assert estimate(world, sangha, texts) == Estimate(US + 2 * GB + 2 * IN, None)
    number = send_broadcast(world, sangha, texts)
    pump_all(world, ScriptedCarrier())
    with world.store.read() as session:
        assert cost_of_broadcast(session, number)[0] == US + 2 * GB + 2 * IN, "the few cost what was foretold"


def test_an_estimate_of_many_is_a_sample(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 1_000)
    assert estimate(world, sangha, {"en": "Rally today"}) == Estimate(1_000 * US, None)


def test_an_estimate_says_whether_it_fits_the_cap(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 10)
    micros = cap(world, sangha, 12)
    assert estimate(world, sangha, {"en": "Rally today"}).fits
    spend(world, sangha, 3 * US)
    poor = estimate(world, sangha, {"en": "Rally today"})
    assert not poor.fits and poor.left == broadcast_limit(micros) - 3 * US
    spend(world, sangha, 10**9)
    assert estimate(world, sangha, {"en": "Rally today"}).left == 0


def test_whoever_has_not_written_on_whatsapp_costs_a_template_too(world: World) -> None:
    world.line(WHATSAPP, country="US")
    collective = world.collective(lines=[WHATSAPP])
    world.member(collective, "+12125550100", spoke_on=WHATSAPP)
    world.member(collective, "+12125550101")
    assert estimate(world, collective, {"en": "Rally today " * 40}) == Estimate(2 * 5_000 + BUILT_IN["template", "US"], None)


# --- Twilio's own prices -----------------------------------------------------------------------------------------------------


def test_twilios_price_puts_row_and_month_right(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 4)
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    world.clock.freeze(datetime(2026, 5, 2, tzinfo=UTC))  # a price is known hours later, maybe in another month
    first, second, *_ = (each.id for each in rows(world, number))
    for _ in range(2):
        with world.store.write() as session:
            assert correct_prices(world.store, session, {first: 7_500, second: 20_000, 10**9: 5}) == 2
    assert spending(world, sangha) == [("2026-04", 2 * US + 27_500, 4, 4)]
    assert (row(world, first).cost_micros, row(world, first).priced, row(world, number).priced) == (7_500, True, first == number)
    with world.store.read() as session:
        total, estimated = cost_of_broadcast(session, number)
    assert total == 2 * US + 27_500 and estimated == pytest.approx(2 * US / total)


def test_a_price_without_an_estimate_counts_the_message(world: World, sangha: int) -> None:
    letter = put_letter(world, world.member(sangha, "+12125550100"))
    change(world, Outbound, Outbound.id == letter, state="delivered", accepted_at=world.clock.now())
    with world.store.write() as session:
        correct_price(world.store, session, letter, 7_900)
    assert spending(world, sangha) == [("2026-04", 7_900, 1, 1)]
    assert price_replies(world.deployment) == 0


def test_a_negative_price_is_a_mistake(world: World, sangha: int) -> None:
    with world.store.write() as session, pytest.raises(ValueError, match="sign"):
        correct_price(world.store, session, 1, -7_900)


# --- replies in the webhook's answer -------------------------------------------------------------------------------------------


def deliver(world: World, number: int) -> None:
    token = callback_token(world.store, number, 1)
    answer = world.post(f"/twilio/status/{token}", {"MessageSid": new_sid(), "MessageStatus": "delivered", "AccountSid": ACCOUNT})
    assert answer.status == 204


def test_replies_are_priced_within_the_hour(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100")
    assert world.text("+12125550100", "MENU").texts
    number = rows(world)[-1].id
    assert price_replies(world.deployment) == 0, "the carrier has not taken it yet, as far as we know"
    deliver(world, number)
    assert row(world, number).cost_micros is None
    parts = row(world, number).segments
    assert price_replies(world.deployment) == 1 and price_replies(world.deployment) == 0
    assert (row(world, number).cost_micros, row(world, number).priced) == (parts * US, False)
    assert spending(world, sangha) == [("2026-04", parts * US, parts, 1)]


def test_many_replies_are_priced_in_chunks_each_in_its_month(world: World, sangha: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "CHUNK", 2)
    monkeypatch.setattr(costs, "_UNPRICED", costs._UNPRICED.limit(2))
    world.clock.freeze(datetime(2026, 4, 30, 23, 0, tzinfo=UTC))
    member = world.member(sangha, "+12125550100")
    for number in range(5):
        letter = put_letter(world, member)
        accepted = world.clock.now() + timedelta(minutes=20 * number)
        change(world, Outbound, Outbound.id == letter, state="delivered", accepted_at=accepted)
    world.clock.advance(timedelta(hours=3))
    assert price_replies(world.deployment) == 5
    assert spending(world, sangha) == [("2026-04", 3 * US, 3, 3), ("2026-05", 2 * US, 2, 2)]


def test_a_reply_to_somebody_forgotten_costs_what_its_line_costs(world: World, sangha: int) -> None:
    change(world, Line, country="GB")
    letter = put_letter(world, world.member(sangha, "+12125550100"))
    change(world, Outbound, Outbound.id == letter, state="delivered", accepted_at=world.clock.now(), phone_id=None, person_id=None)
    assert price_replies(world.deployment) == 1 and row(world, letter).cost_micros == GB


def test_the_last_days_rows_are_found_by_their_ids(world: World, sangha: int) -> None:
    member = world.member(sangha, "+12125550100")
    now = world.clock.now()
    with world.store.read() as session:
        assert last_id_before(session, now) <= 0
    made = [put_letter(world, member) for _ in range(20)]
    for number, letter in enumerate(made):
        change(world, Outbound, Outbound.id == letter, created_at=now - timedelta(days=20 - number))
    with world.store.write() as session:
        session.execute(sa.delete(Outbound).where(Outbound.id.in_(made[5:9])))
    for days in range(22):
        with world.store.read() as session:
            found = last_id_before(session, now - timedelta(days=days))
        newer = [letter for number, letter in enumerate(made) if 20 - number <= days and letter not in made[5:9]]
        assert all(letter > found for letter in newer), (days, found)
        kept = [letter for letter in made if letter not in made[5:9]]
        assert len([letter for letter in kept if letter > found]) <= len(newer) + 1, "it reads no more than it must"


# --- what stays ----------------------------------------------------------------------------------------------------------------


def test_forget_leaves_the_sums(world: World, sangha: int) -> None:
    world.member(sangha, "+12125550100")
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    world.text("+12125550100", "FORGET")
    world.text("+12125550100", "YES")
    assert rows(world, number)[0].phone_id is None, "she is forgotten"
    assert spending(world, sangha) == [("2026-04", US, 1, 1)]
    with world.store.read() as session:
        assert cost_of_broadcast(session, number) == (US, 1.0)


def test_sums_go_after_two_years(world: World, sangha: int) -> None:
    now = world.clock.now()
    spend(world, sangha, 1, now - timedelta(days=765))
    spend(world, sangha, 2, now - timedelta(days=725))
    spend(world, sangha, 3)
    assert purge(world.deployment)["spending"] == 1
    assert [each[1] for each in spending(world, sangha)] == [2, 3]


# --- the command line ------------------------------------------------------------------------------------------------------------


def test_prices_are_shown_and_set(world: World, sangha: int) -> None:
    flask = commands_of(world.deployment)
    result = flask("money", "price", "set", "--channel", "sms", "--country", "in", "--price", "0.0750")
    assert result.exit_code == 0 and result.output == "sms to IN: 0.075000.\n"
    assert flask("money", "price", "set", "--country", "ELSEWHERE", "--micros", "300000").exit_code == 0
    with world.store.read() as session:
        table = read_prices(session)
    assert (table.cost("sms", "IN", 2), table.cost("sms", "TV", 1)) == (150_000, 300_000)
    shown = {(each["channel"], each["country"]): each for each in json.loads(flask("money", "prices", "--json").output)}
    assert shown["sms", "IN"] == {"channel": "sms", "country": "IN", "price": 0.075, "from": "set here on 2026-04-12"}
    assert shown["sms", "US"]["price"] == US / 1e6 and "estimate" in shown["sms", "US"]["from"]
    plain = flask("money", "prices").output
    assert "Built-in prices are estimates" in plain and "0.075000  set here" in plain
    with world.store.read() as session:
        assert "sms IN 0.075000" in session.scalars(sa.select(Audit.subject).where(Audit.act == "price set")).all()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("price", "set", "--country", "IN"), 2),
        (("price", "set", "--country", "IN", "--price", "0.1", "--micros", "5"), 2),
        (("price", "set", "--country", "Indiana", "--price", "0.1"), 2),
        (("price", "set", "--country", "IN", "--price", "-0.1"), 2),
        (("price", "set", "--country", "IN", "--price", "0.00000001"), 2),
        (("price", "set", "--country", "IN", "--price", "750"), 1),
        (("price", "set", "--channel", "pigeon", "--country", "IN", "--price", "0.1"), 2),
        (("cap", "--collective", "NOBODY", "5"), 1),
        (("cap", "--collective", "SANGHA", "NaN"), 2),
        (("cap", "--collective", "SANGHA", "Infinity"), 2),
        (("cap", "--collective", "SANGHA", "9999999"), 1),
        (("show", "--collective", "NOBODY"), 1),
    ],
)
def test_what_can_not_be_meant_is_refused(small_world: World, arguments: tuple[str, ...], code: int) -> None:
    small_world.collective()
    result = commands_of(small_world.deployment)("money", *arguments)
    assert result.exit_code == code, result.output
    with small_world.store.read() as session:
        assert session.scalars(sa.select(Price)).all() == [] and session.scalars(sa.select(Collective.monthly_cap_micros)).all() == [None]


def test_the_months_are_shown(world: World, sangha: int) -> None:
    flask = commands_of(world.deployment)
    spend(world, sangha, 7_000_000, world.clock.now() - timedelta(days=31))
    spend(world, sangha, 12_340_000)
    assert "SANGHA has no cap" in flask("money", "show", "--collective", "sangha").output
    flask("money", "cap", "--collective", "SANGHA", "50")
    shown = flask("money", "show", "--collective", "SANGHA").output
    assert "SANGHA has spent 12.34 of 50.00 this month; broadcasts may cost 32.66 more." in shown
    assert "2026-03          7.00  1 text, 1 segment" in shown
    report: dict[str, Any] = json.loads(flask("money", "show", "--collective", "SANGHA", "--json").output)
    assert (report["spent"], report["cap"], report["left_for_broadcasts"]) == (12.34, 50.0, 32.66)
    assert [each["month"] for each in report["months"]] == ["2026-04", "2026-03"]
    assert "SANGHA has no cap." in flask("money", "cap", "--collective", "SANGHA", "none").output
    assert "5.00 a month" in flask("money", "cap", "--collective", "SANGHA", "5").output


def test_a_lower_cap_lets_nobody_go(world: World, sangha: int) -> None:
    add_many_members(world, sangha, 10)
    cap(world, sangha, 4)
    number = send_broadcast(world, sangha)
    pump_all(world, ScriptedCarrier())
    assert "no longer wait" not in commands_of(world.deployment)("money", "cap", "--collective", "SANGHA", "0.01").output
    assert states(world, number).count(HELD) == 6
    with world.store.read() as session:
        assert session.scalars(sa.select(Broadcast.state)).one() == "sending", "it is not over: it waits"
