"""A role counts in its own collective only, also where several share one line."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bot.conversation.turn import Belonging, Turn
from models import Broadcast, Note
from tests.world import World

CHITRA, ASHA = "+15551000001", "+15551000002"


@pytest.fixture
def clinic(small_world: World) -> int:
    """Chitra organizes Sangha and Tenants; in Clinic she is a member like anybody. Asha wrote to the Clinic's organizers."""
    sangha, tenants, clinic = (small_world.collective(word) for word in ("SANGHA", "TENANTS", "CLINIC"))
    for collective, roles in ((sangha, ["organizer"]), (tenants, ["organizer"]), (clinic, [])):
        small_world.member(collective, CHITRA, name="Chitra", roles=roles)
    asha = small_world.member(clinic, ASHA, name="Asha")
    with small_world.store.write() as session:
        session.add(Note(collective_id=clinic, number=1, membership_id=asha, body="a private worry", created_at=small_world.clock.now()))
    return clinic


def test_she_is_offered_only_the_groups_she_organizes(small_world: World, clinic: int) -> None:
    offered = small_world.text(CHITRA, "NOTES").text
    assert "Sangha" in offered
    assert "Tenants" in offered
    assert "Clinic" not in offered
    assert "worry" not in " ".join(small_world.text(CHITRA, "c").texts)


def test_a_question_of_the_other_group_lends_her_no_power_there(small_world: World, clinic: int) -> None:
    small_world.text(CHITRA, "CHECKIN")
    small_world.text(CHITRA, "clinic")  # a question of Clinic's is open now
    small_world.text(CHITRA, "ALERT Rally today")
    small_world.text(CHITRA, "a")
    with small_world.store.read() as session:
        assert session.scalars(sa.select(Broadcast.collective_id)).all() not in ([clinic], [clinic, clinic])
        assert session.scalar(sa.select(sa.func.count()).select_from(Broadcast)) == 1


def test_an_act_refuses_who_has_not_its_role() -> None:
    """The second wall, behind the table of words."""
    member = Belonging(1, 1, "Clinic", "en", "UTC", frozenset({"supporter"}))
    turn = Turn(None, None, None, None, 1, 1, "en", "UTC", here=member)  # type: ignore[arg-type]
    assert turn.with_role("organizer", "supporter") is member
    with pytest.raises(PermissionError, match="organizer"):
        turn.with_role("organizer")
