"""What the console keeps goes, too: codes and sessions after a day, answers with their notes, trails after a year."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bot.upkeep.retention import purge
from models import CareWeek, LoginCode, MemberExport, MemberImport, Note, NoteAnswer, NumberChange, Person, WebSession
from tests.world import World

DAY = timedelta(days=1)


def count(world: World, model: Any) -> int:
    with world.store.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def made_at(model: Any, at: datetime, mark: bytes, collective: int, person: int) -> Any:
    """A row of this kind that was over at that moment."""
    if model is LoginCode:
        return LoginCode(number_hash=mark, asker_hash=mark, code_hash=mark, asked_at=at, expires_at=at)
    if model is WebSession:
        return WebSession(token_hash=mark, person_id=person, made_at=at, seen_at=at, expires_at=at)
    if model is NumberChange:
        return NumberChange(person_id=person, asked_by=1, asked_at=at, due_at=at, done_at=at)
    return model(collective_id=collective, made_at=at)


@pytest.mark.parametrize(
    ("model", "kept"),
    [(LoginCode, DAY), (WebSession, DAY), (NumberChange, 30 * DAY), (MemberImport, 365 * DAY), (MemberExport, 365 * DAY)],
    ids=lambda value: getattr(value, "__tablename__", ""),
)
def test_the_rows_of_the_console_go_in_time(world: World, model: Any, kept: timedelta) -> None:
    collective = world.collective()
    world.member(collective, "+15558800001", name="Maya")
    with world.store.write() as session:
        person = session.scalars(sa.select(Person.id)).one()
        for number, at in enumerate((world.clock.now() - kept - DAY / 24, world.clock.now() - kept + DAY / 24)):
            session.add(made_at(model, at, bytes([number]) * 32, collective, person))
    purge(world.deployment)
    assert count(world, model) == 1


def test_answers_go_with_their_notes(world: World) -> None:
    collective = world.collective()
    member = world.member(collective, "+15558800001")
    now = world.clock.now()
    with world.store.write() as session:
        for number, age in enumerate((8, 31)):
            at = now - age * DAY
            note = Note(collective_id=collective, number=number, membership_id=member, body="why?", state="closed", created_at=at)
            session.add(note)
            session.flush()
            session.add(NoteAnswer(note_id=note.id, author_id=member, body="because", answered_at=at))
    purge(world.deployment)
    assert count(world, Note) == count(world, NoteAnswer) == 1
    with world.store.read() as session:
        assert session.scalars(sa.select(NoteAnswer.body)).one() is None


def test_weeks_of_care_go_with_the_moods_they_are_made_of(world: World) -> None:
    collective, today = world.collective(), world.clock.now().date()
    with world.store.write() as session:
        for days in (179, 181):
            session.add(CareWeek(collective_id=collective, begins=today - days * DAY, shown={"people": 5}))
    purge(world.deployment)
    with world.store.read() as session:
        assert session.scalars(sa.select(CareWeek.begins)).all() == [today - 179 * DAY]
