"""The simulator's jumps in time: a door that only a simulator finds, and what is due next."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.demo.seed import seed
from bot.deployment import Deployment
from models import ClockJump, Keyring, Outbound, Store, Timer
from tests.conftest import DATA_KEY, START, make_settings, open_frozen
from tests.world import TOKEN, World


def ask(world: World, jump: str = "", status: int = 200) -> dict[str, Any]:
    answer = world.post("/twilio/clock", {"AccountSid": world.deployment.settings.twilio_account_sid, "Jump": jump})
    assert answer.status == status, answer.raw
    told: dict[str, Any] = json.loads(answer.raw)
    return told


def test_it_tells_the_time_and_jumps_and_every_process_follows(world: World) -> None:
    world.collective(timezone="Asia/Kolkata")
    assert ask(world) == {"now": START.isoformat(), "zone": "Asia/Kolkata", "ahead": 0, "next": None}
    assert ask(world, "3600")["now"] == (START + timedelta(hours=1)).isoformat()
    assert ask(world, "60")["ahead"] == 3660, "jumps add up"
    # 10:01 UTC is 15:31 in Kolkata: the next morning there.
    assert ask(world, "morning")["now"] == "2026-04-13T03:30:00+00:00"
    with world.store.read() as session:
        assert session.scalars(sa.select(ClockJump.seconds)).all() == [66_600]
    # The worker's clock, and another web process at its own first request.
    other = Store(world.deployment.settings.database_url, Keyring(world.deployment.settings.data_keys))
    other.clock.freeze(START)
    assert ask(World(Deployment(world.deployment.settings, other)))["now"] == "2026-04-13T03:30:00+00:00"
    other.close()


def test_it_jumps_to_what_is_due_next(world: World) -> None:
    seed(world.deployment)
    assert ask(world)["next"] == {"at": (START + timedelta(days=2)).isoformat(), "what": "a poll closes"}
    with world.store.write() as session:
        session.add(Timer(kind="purge", subject_id=0, key="purge:soon", due_at=START + timedelta(minutes=1)))
        session.execute(sa.update(Outbound).where(Outbound.kind == "check_in").values(due_at=START + timedelta(hours=3)))
    due = ask(world)["next"]
    assert due == {"at": (START + timedelta(hours=3)).isoformat(), "what": "texts that wait leave (quiet hours, or a later hour)"}
    assert datetime.fromisoformat(ask(world, "next")["now"]) == START + timedelta(hours=3, seconds=1)
    assert ask(world)["next"]["what"] == "a poll closes", "what is past is not next"
    ask(world, "next")
    assert ask(world)["next"] is None
    assert ask(world, "next", status=400)["error"] == "nothing is due"


@pytest.mark.parametrize("jump", ["-60", "0", "1e9", "999999999", "tomorrow", "٣", "3600.5", " 60", "9" * 10_000])
def test_what_is_no_jump_moves_nothing(small_world: World, jump: str) -> None:
    assert "number of seconds" in ask(small_world, jump, status=400)["error"]
    assert small_world.clock.now() == START
    with small_world.store.read() as session:
        assert session.scalars(sa.select(ClockJump)).all() == []


def test_a_clock_that_nobody_jumped_stays_as_it_is(small_world: World) -> None:
    small_world.clock.advance(timedelta(hours=5))
    assert ask(small_world)["now"] == (START + timedelta(hours=5)).isoformat()


def test_the_door_is_for_the_simulator_only(small_world: World, sqlite_url: str) -> None:
    assert small_world.post("/twilio/clock", {"Jump": "3600"}, token="x" * len(TOKEN)).status == 403
    assert small_world.client.post("/twilio/clock", data={"Jump": "3600"}).status_code == 403
    assert small_world.client.get("/twilio/clock").status_code == 405
    real = open_frozen(make_settings(sqlite_url, twilio_api_url="https://api.twilio.com", data_keys=DATA_KEY))
    assert World(real).post("/twilio/clock", {"Jump": "3600"}).status == 404
    assert real.clock.now() == START == small_world.clock.now() == datetime(2026, 4, 12, 9, tzinfo=UTC)
    real.store.close()
