"""Error codes: what each of them means for its message, her phone, the line; the tests bear the codes' names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.delivery.broadcasts import stop_broadcast
from bot.delivery.errors import REST, Reaction, reaction_to, when_again
from bot.delivery.gateway import Accepted, Outcome, Refused
from bot.delivery.receipts import apply_receipt
from bot.delivery.sweep import sweep
from bot.delivery.tokens import callback_token
from bot.delivery.trouble_words import _REASONS, explain
from models import Broadcast, Line, Outbound, PhoneLine
from tests.conftest import START
from tests.delivery import ScriptedCarrier, change, pump_all, put_letter, row, rows, send_broadcast
from tests.world import World, new_sid

MEMBER = "+15551000001"

# facts of Twilio's pages: one line a code.
TABLE = {
    20003: Reaction.HOLD_LINE, 20429: Reaction.SLOW, 21211: Reaction.REFUSE, 21212: Reaction.HOLD_LINE, 21408: Reaction.WAIT,
    21603: Reaction.HOLD_LINE, 21606: Reaction.HOLD_LINE, 21608: Reaction.WAIT, 21610: Reaction.OPT_OUT, 21611: Reaction.BACK_OFF,
    21612: Reaction.REFUSE, 21614: Reaction.REFUSE, 21617: Reaction.FAIL, 21620: Reaction.FAIL, 21623: Reaction.FAIL,
    21654: Reaction.TEMPLATE, 21655: Reaction.TEMPLATE, 21656: Reaction.TEMPLATE, 21703: Reaction.HOLD_LINE, 21704: Reaction.HOLD_LINE,
    30001: Reaction.BACK_OFF, 30002: Reaction.HOLD_LINE, 30003: Reaction.UNREACHABLE, 30004: Reaction.REFUSE, 30005: Reaction.REFUSE,
    30006: Reaction.REFUSE, 30007: Reaction.FILTERED, 30008: Reaction.ONCE, 30017: Reaction.ONCE, 30022: Reaction.BACK_OFF,
    30023: Reaction.MIDNIGHT, 30027: Reaction.MIDNIGHT, 30032: Reaction.HOLD_LINE, 30034: Reaction.HOLD_LINE, 30035: Reaction.HOLD_LINE,
    30036: Reaction.EXPIRE, 30410: Reaction.ONCE, 30450: Reaction.NOT_FAST, 30610: Reaction.WAIT, 30640: Reaction.REFUSE,
    63003: Reaction.ELSEWHERE, 63005: Reaction.FAIL, 63007: Reaction.HOLD_LINE, 63013: Reaction.FAIL, 63014: Reaction.OPT_OUT,
    63015: Reaction.WAIT, 63016: Reaction.WINDOW, 63017: Reaction.BACK_OFF, 63018: Reaction.TIER, 63021: Reaction.FAIL,
    63024: Reaction.ELSEWHERE, 63027: Reaction.TEMPLATE, 63028: Reaction.TEMPLATE, 63032: Reaction.FAIL, 63033: Reaction.OPT_OUT,
    63038: Reaction.TOMORROW, 63041: Reaction.TEMPLATE, 63042: Reaction.TEMPLATE, 63049: Reaction.UNWANTED, 63051: Reaction.HOLD_LINE,
    # Codes that nobody has told us of: by their hundreds.
    21999: Reaction.FAIL, 30999: Reaction.ONCE, 63999: Reaction.FAIL, 12345: Reaction.FAIL,
}  # fmt: skip


@pytest.mark.parametrize(("code", "reaction"), TABLE.items(), ids=str)
def test_what_the_code_means(code: int, reaction: Reaction) -> None:
    assert reaction_to(code) is reaction


@pytest.mark.parametrize("code", TABLE)
def test_each_code_is_told_in_words(code: int) -> None:
    told = explain(code)
    assert told.endswith(
        (".", "flask registration", "flask templates", "--line", "--mps", "flask templates submit", "flask templates list")
    ), told
    assert "{" not in told


def test_reasons_are_told_in_words() -> None:
    assert explain(None, "opted_out") == "She sent STOP on this line."
    assert explain(30003, "retry").startswith("Her phone is off")
    assert explain(None, "retry") == "It did not arrive; it is tried again later."
    assert explain(30034, "organizer") == "An organizer holds it."
    assert explain(None, None) == "" and explain(None, "some_new_reason") == "Some new reason."
    assert all(told.endswith((".", "submit")) for told in _REASONS.values())


# --- when it is tried again ------------------------------------------------------------------------------------------------


def hours(*tries: float | None) -> list[timedelta | None]:
    return [None if hour is None else timedelta(hours=hour) for hour in tries]


@pytest.mark.parametrize(
    ("code", "later"),
    [
        (30003, hours(1, 6, 24, None)),
        (30450, hours(0.5, 1, 2, None)),
        (63018, hours(4, 12, 24, None)),
        (63049, hours(6, 24, 72, None)),
        (30001, hours(5 / 60, 10 / 60, 20 / 60)),
        (30034, hours(0.25, 0.5, 1)),
        (21408, hours(1, 2, 4, 8, 16, 24, 24)),
        (21211, hours(None)),
        (30007, hours(None)),
    ],
)
def test_when_it_is_tried_again(code: int, later: list[timedelta | None]) -> None:
    now = START
    for attempt, pause in enumerate(later, 1):
        assert when_again(code, attempt, resent=attempt > 1, now=now) == (None if pause is None else now + pause)


def test_twelve_tries_are_enough() -> None:
    assert when_again(30001, 11, resent=True, now=START) is not None
    assert when_again(30001, 12, resent=True, now=START) is None


@pytest.mark.parametrize("code", [30008, 30017, 30410, 30999])
def test_once_more_and_no_more(code: int) -> None:
    later = when_again(code, 1, resent=False, now=START)
    assert later is not None and timedelta(minutes=30) <= later - START <= timedelta(hours=1)
    assert when_again(code, 2, resent=True, now=START) is None


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        (datetime(2026, 4, 12, 9, 0, tzinfo=UTC), datetime(2026, 4, 13, 7, 0, tzinfo=UTC)),
        (datetime(2026, 4, 13, 6, 59, tzinfo=UTC), datetime(2026, 4, 13, 7, 0, tzinfo=UTC)),
        (datetime(2026, 4, 13, 7, 0, tzinfo=UTC), datetime(2026, 4, 14, 7, 0, tzinfo=UTC)),
        # The night in which summer time begins there, and the one in which it ends.
        (datetime(2026, 3, 8, 9, 0, tzinfo=UTC), datetime(2026, 3, 9, 7, 0, tzinfo=UTC)),
        (datetime(2026, 11, 1, 9, 0, tzinfo=UTC), datetime(2026, 11, 2, 8, 0, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("code", [30023, 30027])
def test_a_carriers_day_ends_at_midnight_in_california(code: int, now: datetime, midnight: datetime) -> None:
    assert when_again(code, 1, resent=False, now=now) == midnight
    assert when_again(code, 5, resent=True, now=now) is None


def test_63038_waits_for_tomorrow_and_rests_the_line() -> None:
    assert when_again(63038, 1, resent=False, now=START) == datetime(2026, 4, 13, tzinfo=UTC)
    assert Reaction.TOMORROW in REST


# --- what becomes of a message, by receipt --------------------------------------------------------------------------------


def receive(world: World, number: int, status: str, code: int | None = None, attempt: int = 1, sid: str | None = None) -> bool:
    return apply_receipt(world.store, callback_token(world.store, number, attempt), status, code, sid)


@pytest.fixture
def sent(world: World) -> int:
    """A notice that the carrier has taken."""
    collective = world.collective()
    world.member(collective, MEMBER)
    broadcast = send_broadcast(world, collective)
    pump_all(world, ScriptedCarrier())
    (only,) = rows(world, broadcast)
    assert (only.state, only.attempt) == ("accepted", 1)
    return only.id


def test_30003_is_tried_again_after_an_hour_six_hours_and_a_day(world: World, sent: int) -> None:
    carrier = ScriptedCarrier()
    for attempt, pause in enumerate(hours(1, 6, 24), 1):
        receive(world, sent, "undelivered", 30003, attempt)
        waiting = row(world, sent)
        assert (waiting.state, waiting.reason, waiting.error_code, waiting.attempt) == ("held", "retry", 30003, attempt)
        assert pause is not None and waiting.due_at == world.clock.now() + pause
        assert (waiting.sid, waiting.accepted_at, waiting.done_at, waiting.resent) == (None, None, None, True)
        world.clock.advance(pause - timedelta(seconds=1))
        assert sweep(world.store).released == 0
        world.clock.advance(timedelta(seconds=1))
        assert sweep(world.store).released == 1
        pump_all(world, carrier)
        again = row(world, sent)
        assert (again.state, again.attempt, again.error_code) == ("accepted", attempt + 1, None)
        assert carrier.taken[-1].callback.endswith(callback_token(world.store, sent, attempt + 1))
    receive(world, sent, "undelivered", 30003, 4)
    over = row(world, sent)
    assert (over.state, over.error_code, over.done_at) == ("undelivered", 30003, world.clock.now())
    assert len(carrier.taken) == 3


def test_who_is_out_of_reach_keeps_no_broadcast_open_and_is_stopped_with_it(world: World, sent: int) -> None:
    broadcast = row(world, sent).broadcast_id
    receive(world, sent, "undelivered", 30003)
    assert sweep(world.store).broadcasts_done == 1
    with world.store.write() as session:
        assert stop_broadcast(session, world.clock.now(), session.get_one(Broadcast, broadcast)) == 1
    assert row(world, sent).state == "stopped"
    world.clock.advance(timedelta(hours=2))
    assert sweep(world.store).released == 0


def test_30003_told_twice_is_one_retry(world: World, sent: int) -> None:
    receive(world, sent, "undelivered", 30003)
    due = row(world, sent).due_at
    world.clock.advance(timedelta(minutes=10))
    receive(world, sent, "undelivered", 30003)
    receive(world, sent, "failed", 30003)
    receive(world, sent, "sent", sid=new_sid())
    waiting = row(world, sent)
    assert (waiting.state, waiting.due_at, waiting.sid, waiting.accepted_at) == ("held", due, None, None)


def test_a_late_receipt_of_the_first_attempt_says_nothing_of_the_second(world: World, sent: int) -> None:
    receive(world, sent, "undelivered", 30003)
    world.clock.advance(timedelta(hours=1))
    sweep(world.store)
    pump_all(world, ScriptedCarrier())
    second = row(world, sent)
    for status, code in (("sent", None), ("undelivered", 30003), ("failed", 30005), ("queued", None)):
        receive(world, sent, status, code, attempt=1, sid=new_sid())
    unmoved = row(world, sent)
    assert (unmoved.state, unmoved.error_code, unmoved.sid, unmoved.attempt) == ("accepted", None, second.sid, 2)
    receive(world, sent, "delivered", attempt=1)
    assert row(world, sent).state == "delivered", "she has it, by whichever attempt"


def test_what_arrived_after_all_is_not_sent_again(world: World, sent: int) -> None:
    receive(world, sent, "undelivered", 30003)
    receive(world, sent, "delivered")
    assert (row(world, sent).state, row(world, sent).reason, row(world, sent).error_code) == ("delivered", None, 30003)
    world.clock.advance(timedelta(hours=2))
    sweep(world.store)
    carrier = ScriptedCarrier()
    pump_all(world, carrier)
    assert not carrier.taken


def test_a_retry_that_would_come_too_late_is_none(world: World, sent: int) -> None:
    change(world, Outbound, expires_at=world.clock.now() + timedelta(minutes=59))
    receive(world, sent, "undelivered", 30003)
    assert (row(world, sent).state, row(world, sent).resent) == ("undelivered", False)


def test_what_was_stopped_is_not_tried_again(world: World, sent: int) -> None:
    change(world, Broadcast, state="stopped")
    receive(world, sent, "undelivered", 30003)
    assert row(world, sent).state == "undelivered"


@pytest.mark.parametrize("kind", ["check_in", "relay", "page", "code", "crisis", "stop", "reply"])
@pytest.mark.parametrize("code", [30001, 30003, 30008, 30034])
def test_care_codes_and_words_between_people_never_go_twice(small_world: World, kind: str, code: int) -> None:
    world = small_world
    member = world.member(world.collective(), MEMBER)
    number = put_letter(world, member, kind=kind)
    pump_all(world, ScriptedCarrier())
    receive(world, number, "undelivered", code)
    assert (row(world, number).state, row(world, number).error_code, row(world, number).resent) == ("undelivered", code, False)


@pytest.mark.parametrize("code", [30008, 30017, 30410, 30999])
def test_an_error_that_says_nothing_is_tried_once_more(world: World, sent: int, code: int) -> None:
    receive(world, sent, "undelivered", code)
    assert (row(world, sent).state, row(world, sent).reason) == ("held", "retry")
    world.clock.advance(timedelta(hours=1))
    sweep(world.store)
    pump_all(world, ScriptedCarrier())
    receive(world, sent, "undelivered", code, attempt=2)
    assert (row(world, sent).state, row(world, sent).error_code) == ("undelivered", code)


def test_30036_is_expired(world: World, sent: int) -> None:
    receive(world, sent, "undelivered", 30036)
    late = row(world, sent)
    assert (late.state, late.reason, late.error_code, late.done_at) == ("expired", "too_late", 30036, world.clock.now())


def test_30450_waits_half_an_hour(world: World, sent: int) -> None:
    receive(world, sent, "failed", 30450)
    assert row(world, sent).due_at == world.clock.now() + timedelta(minutes=30)


def test_30023_waits_for_the_carriers_next_day(world: World, sent: int) -> None:
    receive(world, sent, "undelivered", 30023)
    waiting = row(world, sent)
    assert (waiting.state, waiting.reason, waiting.due_at) == ("held", "daily_limit", datetime(2026, 4, 13, 7, 0, tzinfo=UTC))
    assert line_of(world).held_until is None, "the limit is one carrier's: all others go on"


@pytest.mark.parametrize(("code", "minutes"), [(30001, 5), (30034, 15)])
def test_what_met_the_lines_trouble_waits_with_the_line(world: World, sent: int, code: int, minutes: int) -> None:
    receive(world, sent, "failed", code)
    waiting = row(world, sent)
    assert (waiting.state, waiting.reason, waiting.due_at) == ("held", "line", world.clock.now() + timedelta(minutes=minutes))
    assert line_of(world).held_code == code


@pytest.mark.parametrize("code", [21211, 21614, 30004, 30005, 30006, 30640])
def test_a_number_that_gets_no_texts_is_over(world: World, sent: int, code: int) -> None:
    receive(world, sent, "undelivered", code)
    assert (row(world, sent).state, row(world, sent).error_code) == ("undelivered", code)
    with world.store.read() as session:
        assert session.scalars(sa.select(PhoneLine.refused_code)).all() == [code]


def test_a_forgotten_phone_gets_no_retry(world: World, sent: int) -> None:
    change(world, Outbound, phone_id=None)
    receive(world, sent, "undelivered", 30003)
    assert (row(world, sent).state, row(world, sent).reason) == ("stopped", "forgotten")


def line_of(world: World) -> Line:
    with world.store.read() as session:
        return session.scalars(sa.select(Line)).one()


# --- what becomes of a message, by the answer to the send -----------------------------------------------------------------


def refusing(code: int, times: int = 1) -> ScriptedCarrier:
    def answer(_to: str, number: int) -> Outcome:
        return Refused(code) if number <= times else Accepted(new_sid())

    return ScriptedCarrier(answer)


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        (21211, "failed", None),
        (21610, "failed", None),
        (21612, "failed", None),
        (21614, "failed", None),
        (21617, "failed", None),
        (21408, "held", "line"),
        (21606, "held", "line"),
        (21611, "held", "line"),
        (30450, "held", "retry"),
        (30008, "held", "retry"),
        (63038, "held", "daily_limit"),
        (12345, "failed", None),
    ],
)
def test_refused_at_the_send(small_world: World, code: int, state: str, reason: str | None) -> None:
    world = small_world
    collective = world.collective()
    world.member(collective, MEMBER)
    broadcast = send_broadcast(world, collective)
    carrier = refusing(code)
    pump_all(world, carrier)
    (only,) = rows(world, broadcast)
    assert (only.state, only.reason, only.error_code, only.resent) == (state, reason, code, False)
    assert (only.done_at is None) == (state == "held")
    assert len(carrier.taken) == 1


@pytest.mark.parametrize("kind", ["relay", "code", "check_in", "reply"])
def test_what_the_carrier_never_took_may_go_again_whatever_it_is(small_world: World, kind: str) -> None:
    world = small_world
    number = put_letter(world, world.member(world.collective(), MEMBER), kind=kind)
    pump_all(world, refusing(21611))
    assert (row(world, number).state, row(world, number).reason) == ("held", "line")
