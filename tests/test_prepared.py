"""Prepared statements do what SQLAlchemy does with the same statement: parameters, columns, errors, seals, lost connections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, NoResultFound, OperationalError

from models import Outbound, Person, Phone, Prepared, Store
from models.watchdog import watchdog_of

NOW = datetime(2026, 4, 12, 9, 0, tzinfo=UTC)
_p: Any = Phone.__table__
_o: Any = Outbound.__table__

INSERT = Prepared(sa.insert(_p).returning(_p.c.id))
RENAME = Prepared(sa.update(_p).where(_p.c.id == sa.bindparam("this")))
FIND = Prepared(
    sa.select(_p.c.id, _p.c.number, _p.c.created_at, _p.c.current_person_id, _p.c.number.is_(None).label("nameless"))
    .where(_p.c.created_at >= sa.bindparam("since"))
    .order_by(_p.c.id)
)
REFUSE = Prepared(sa.update(_p).where(_p.c.number_hash == sa.bindparam("hash")).values(detached_at=NOW, current_person_id=7))


def insert(session: Any, number: str, created_at: datetime = NOW) -> int:
    return int(INSERT.scalar(session, {"number": number, "number_hash": number.encode(), "created_at": created_at}))


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    with store.write() as session:
        first, second = insert(session, "+15550000001"), insert(session, "+15550000002", NOW + timedelta(hours=1))
        rows = FIND.all(session, {"since": NOW})
        assert [(row.id, row.number, row.created_at, row.current_person_id, bool(row.nameless)) for row in rows] == [
            (first, "+15550000001", NOW, None, False),
            (second, "+15550000002", NOW + timedelta(hours=1), None, False),
        ]
        assert FIND.first(session, {"since": NOW + timedelta(minutes=1)}).id == second
        assert FIND.first(session, {"since": NOW + timedelta(days=1)}) is None
        assert FIND.scalar(session, {"since": NOW + timedelta(days=1)}) is None
        with pytest.raises(NoResultFound):
            FIND.one(session, {"since": NOW + timedelta(days=1)})
    with store.read() as session:
        assert session.scalars(sa.select(Phone.number).order_by(Phone.id)).all() == ["+15550000001", "+15550000002"]
        sealed = session.execute(sa.text("SELECT number FROM phones ORDER BY id")).scalars().all()
        assert all(b"1555" not in bytes(each) for each in sealed)
        assert len(FIND.all(session, {"since": NOW})) == 2


def test_the_columns_of_an_update_are_those_given(store: Store) -> None:
    with store.write() as session:
        this = insert(session, "+15550000001")
        assert RENAME.run(session, {"this": this, "number": None}) == 1
        assert FIND.one(session, {"since": NOW}).nameless
        assert RENAME.run(session, {"this": this, "number": "+15550000003", "current_person_id": 5}) == 1
        row = FIND.one(session, {"since": NOW})
        assert (row.number, row.current_person_id) == ("+15550000003", 5)
        assert RENAME.run(session, {"this": this + 1, "number": None}) == 0
        # Values that stand in the statement itself.
        assert REFUSE.run(session, {"hash": b"+15550000001"}) == 1
        assert session.scalars(sa.select(Phone.detached_at)).one() == NOW
        assert FIND.one(session, {"since": NOW}).current_person_id == 7


def test_plain_defaults_are_filled_in(store: Store) -> None:
    compiled = Prepared(sa.insert(_o).returning(_o.c.tries, _o.c.unprompted, _o.c.position))
    values = {"line_id": 1, "kind": "reply", "lane": 3, "language": "en", "state": "queued", "due_at": NOW, "created_at": NOW}
    with store.write() as session:
        session.execute(
            sa.text(
                "INSERT INTO lines (id, channel, address, two_way, carrier_answers_stop, mps, fence, lease_until, next_slot, created_at)"
                " VALUES (1, 'sms', '+15550009999', true, true, 1, 0, 0, 0, '2026-04-12')"
            )
        )
        row = compiled.one(session, values)
    assert (row.tries, row.unprompted, row.position) == (0, True, 0)


def test_errors_are_those_of_sqlalchemy_and_hide_what_was_bound(store: Store) -> None:
    with pytest.raises(IntegrityError) as told, store.write() as session:
        insert(session, "+15550000001")
        insert(session, "+15550000001")
    assert "+1555" not in str(told.value) and "hide_parameters" in str(told.value)
    with store.write() as session:  # nothing of it stayed, and the connection is as good as new
        assert FIND.all(session, {"since": NOW}) == []
        insert(session, "+15550000001")


def test_a_seal_that_raises_leaves_the_connection_usable(store: Store) -> None:
    with pytest.raises(ValueError, match="time zone"), store.write() as session:
        insert(session, "+15550000001", datetime(2026, 4, 12))  # noqa: DTZ001 - that is the mistake
    with store.write() as session:
        insert(session, "+15550000001")


def test_what_is_not_the_same_text_every_time_is_refused(store: Store) -> None:
    with store.write() as session:
        with pytest.raises(TypeError, match="no list"):
            Prepared(sa.select(_p.c.id).where(_p.c.id.in_(sa.bindparam("ids", expanding=True)))).all(session, {"ids": [1]})
        with pytest.raises(TypeError, match="needs a value"):
            FIND.all(session, {})
        table = sa.Table("made_up", sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.Integer, default=lambda: 1))
        with pytest.raises(TypeError, match="plain values"):
            Prepared(sa.insert(table)).run(session, {"a": 1})


def test_a_rollback_takes_prepared_statements_along(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as session:
        insert(session, "+15550000001")
        raise RuntimeError
    with store.write() as session:
        phone = insert(session, "+15550000002")
        with pytest.raises(IntegrityError), session.connection().begin_nested():
            insert(session, "+15550000003")
            insert(session, "+15550000003")
        session.add(Person(phone_id=phone, created_at=NOW))
    with store.read() as session:
        assert session.scalars(sa.select(Phone.number)).all() == ["+15550000002"]
        assert session.scalars(sa.select(Person.phone_id)).all() == [phone]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_dies_is_told_and_left(store: Store) -> None:
    with pytest.raises(OperationalError) as told, store.write() as session:
        mine = session.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with store.engine.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:mine)"), {"mine": mine})
        FIND.all(session, {"since": NOW})
    assert told.value.connection_invalidated
    with store.write() as session:
        insert(session, "+15550000001")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_watchdog_sees_who_waits_in_a_prepared_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = watchdog_of(store.engine.dialect)
    assert watchdog is store.watchdog and watchdog is not None
    monkeypatch.setattr(watchdog, "seconds", 0.5)
    sleep = Prepared(sa.select(sa.func.pg_sleep(sa.bindparam("seconds", type_=sa.Integer)).label("slept")))
    with pytest.raises(OperationalError) as told, store.write() as session:
        sleep.all(session, {"seconds": 5})
    assert told.value.connection_invalidated
    assert not watchdog._waiting
