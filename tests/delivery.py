"""What the tests of delivery share: a carrier in the process whose answers are scripted, and short ways to a broadcast and its rows."""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import defer

from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.gateway import Accepted, Outcome
from bot.delivery.leases import LeasedLine, take_lines
from bot.delivery.outbox import Letter, put
from bot.delivery.plan import plan_broadcast
from bot.delivery.pump import serve_lines
from models import Line, Membership, Outbound, Person, Phone
from tests.world import World, new_sid

LINE, SECOND = "+15550001111", "+15550001112"


@dataclass
class Taken:
    to: str
    sender: str
    body: str
    callback: str
    at: float
    # What else the gateway was told: validity, content_sid, variables.
    extra: dict[str, Any] = field(default_factory=dict)


class ScriptedCarrier:
    """A gateway that answers each text with what ``answer`` says (by default: accepted) and remembers all of them."""

    def __init__(self, answer: Callable[[str, int], Outcome] | None = None) -> None:
        self.taken: list[Taken] = []
        self._answer = answer or (lambda _to, _number: Accepted(new_sid()))
        self._lock = threading.Lock()

    def send(self, *, to: str, sender: str, body: str, callback: str, **extra: Any) -> Outcome:
        with self._lock:
            self.taken.append(Taken(to, sender, body, callback, time.monotonic(), extra))
            number = len(self.taken)
        return self._answer(to, number)

    @property
    def bodies(self) -> list[str]:
        return [text.body for text in self.taken]


def pump_all(world: World, carrier: Any, seconds: float = 10.0) -> int:
    """Serve until nothing is left or the time is over."""
    return serve_lines(world.deployment, carrier, threading.Event(), seconds)


def send_broadcast(
    world: World, collective: int, texts: dict[str, str] | str = "Rally today", *, kind: str = "notice", **named: Any
) -> int:
    """Draft, approve and plan; returns the broadcast's id."""
    now = world.clock.now()
    with world.store.write() as session:
        drafted = draft_broadcast(session, now, collective, kind, {"en": texts} if isinstance(texts, str) else texts, **named)
        assert approve_broadcast(session, now, drafted, how="cli")
    plan_broadcast(world.deployment, drafted.id)
    return drafted.id


def put_letter(world: World, member: int, body: str = "Hello", kind: str = "reply", **named: Any) -> int:
    """A letter to a member on the first line; returns its id."""
    with world.store.write() as session:
        row = session.execute(
            sa.select(Person.phone_id, Person.id, Membership.collective_id).join(Membership).where(Membership.id == member)
        ).one()
        line = named.pop("line_id", None) or session.scalars(sa.select(Line.id).order_by(Line.id)).first()
        values = {
            "unprompted": kind not in ("reply", "stop"),
            "membership_id": member,
            "person_id": row.id,
            "collective_id": row.collective_id,
        }
        return put(session, world.clock.now(), Letter(kind, body, "en", line, row.phone_id, **(values | named)))


def rows(world: World, broadcast: int | None = None) -> list[Outbound]:
    """All outbound rows, or one broadcast's, in the order of their ids."""
    with world.store.read() as session:
        query = sa.select(Outbound).options(defer(Outbound.body)).order_by(Outbound.id)
        return list(session.scalars(query if broadcast is None else query.where(Outbound.broadcast_id == broadcast)))


def row(world: World, number: int) -> Outbound:
    with world.store.read() as session:
        return session.scalars(sa.select(Outbound).options(defer(Outbound.body)).where(Outbound.id == number)).one()


def states(world: World, broadcast: int | None = None) -> list[str]:
    return [each.state for each in rows(world, broadcast)]


def change(world: World, model: Any, *where: Any, **values: Any) -> None:
    """Set columns directly, the way another part of the product would have."""
    with world.store.write() as session:
        session.execute(sa.update(model).where(*where).values(**values))


def line_row(world: World, address: str = LINE) -> Line:
    with world.store.read() as session:
        return session.scalars(sa.select(Line).where(Line.address == address)).one()


def two_members(world: World) -> int:
    """A collective with two members on a fast line; Bela reads Spanish."""
    world.line(LINE, mps=500.0)
    collective = world.collective(lines=[LINE])
    world.member(collective, "+15551000001", name="Asha")
    world.member(collective, "+15551000002", name="Bela", language="es")
    return collective


def take_the_line(world: World) -> LeasedLine:
    """Lease the one line with due work, as a pump does."""
    (line,) = take_lines(world.store, "test", 1)
    return line


def phone_of(world: World, member: int) -> int:
    with world.store.read() as session:
        return session.scalars(sa.select(Person.phone_id).join(Membership).where(Membership.id == member)).one()


def phone_named(world: World, number: str) -> Phone:
    with world.store.read() as session:
        return session.scalars(sa.select(Phone).where(Phone.number_hash == world.store.hash_number(number))).one()


def most_in_a_second(moments: Sequence[float]) -> int:
    """The most events in any window of one second."""
    times = sorted(moments)
    return max(bisect.bisect_left(times, first + 1.0) - number for number, first in enumerate(times))


def add_many_members(world: World, collective: int, count: int) -> None:
    """``count`` members with numbers +1666…, in a handful of statements."""
    now = world.clock.now()
    hashes = {number: world.store.hash_number(number) for number in (f"+1666{n:07d}" for n in range(count))}
    with world.store.write() as session:
        phones = session.scalars(
            sa.insert(Phone).returning(Phone.id, sort_by_parameter_order=True),
            [{"number": number, "number_hash": hashed, "created_at": now} for number, hashed in hashes.items()],
        ).all()
        people = session.scalars(
            sa.insert(Person).returning(Person.id, sort_by_parameter_order=True),
            [{"phone_id": phone, "created_at": now} for phone in phones],
        ).all()
        session.execute(
            sa.insert(Membership),
            [{"person_id": person, "collective_id": collective, "joined_at": now, "state": "active", "on_duty": True} for person in people],
        )
        session.execute(
            sa.update(Phone).where(Person.phone_id == Phone.id, Phone.current_person_id.is_(None)).values(current_person_id=Person.id),
            execution_options={"synchronize_session": False},
        )
