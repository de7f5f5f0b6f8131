"""Who gets a broadcast, on which line, in which language, and who does not: one SELECT for the fan-out and for the preview.

It reads no sealed column, so 140,000 members cost the database's time and not ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.kinds import ASKS
from bot.delivery.quiet import held_zones
from bot.delivery.routes import default_line
from models import Broadcast, Collective, Consent, GroupMember, Line, Membership, Moment, Person, Phone, PhoneLine
from models.messages import HELD, QUEUED, SUPPRESSED

# WhatsApp lets us write freely for 24 hours after her last message (twilio docs, WhatsApp sessions).
WINDOW = timedelta(hours=24)

m: Any = Membership.__table__.alias("m")
p: Any = Person.__table__.alias("p")
ph: Any = Phone.__table__.alias("ph")
_pl: Any = PhoneLine.__table__.alias("pl")
_l: Any = Line.__table__.alias("l")
_co: Any = Consent.__table__.alias("co")
_gm: Any = GroupMember.__table__
_null_moment: Any = sa.null().cast(Moment)


def _in_group(membership_id: Any, group_id: int) -> Any:
    return membership_id.in_(sa.select(_gm.c.membership_id).where(_gm.c.group_id == group_id))


@dataclass(frozen=True)
class Audience:
    """The members a broadcast is for, with what the database can not know by itself: the moments, the collective's defaults."""

    broadcast: Broadcast
    collective: Collective
    line_id: int | None
    now: datetime
    # Zones in which it is quiet now, with the moment when it ends there.
    quiet: Mapping[str, datetime]

    def members(self) -> sa.Select[Any]:
        """Memberships (alias ``m``) joined with people and phones: active, in the group, each phone once."""
        broadcast = self.broadcast
        other, sister = Membership.__table__.alias("m2"), Person.__table__.alias("p2")
        # Two sisters on one phone get one text: the one who holds it now, else the one who joined first.
        better = (
            sa.select(sa.literal(1))
            .select_from(sister.join(other, other.c.person_id == sister.c.id))
            .where(
                sister.c.phone_id == p.c.phone_id,
                other.c.collective_id == broadcast.collective_id,
                other.c.state == "active",
                other.c.id != m.c.id,
                sa.or_(sister.c.id == ph.c.current_person_id, other.c.id < m.c.id),
            )
        )
        query = sa.select().select_from(m.join(p, p.c.id == m.c.person_id).join(ph, ph.c.id == p.c.phone_id))
        query = query.where(m.c.collective_id == broadcast.collective_id, m.c.state == "active")
        if broadcast.group_id is not None:
            better = better.where(_in_group(other.c.id, broadcast.group_id))
            query = query.where(_in_group(m.c.id, broadcast.group_id))
        # Nearly everybody holds her own phone: the plain comparison spares the search for sisters.
        holds_it = sa.func.coalesce(p.c.id == ph.c.current_person_id, sa.false())
        return query.where(sa.or_(holds_it, ~better.correlate(m, p, ph).exists()))

    def rows(self) -> sa.Select[Any]:
        """One row a phone: membership_id, person_id, phone_id, line_id, language, state, reason, due_at."""
        broadcast, collective = self.broadcast, self.collective
        line = sa.func.coalesce(m.c.line_id, self.line_id)
        zone = sa.func.coalesce(p.c.timezone, collective.timezone)
        query = self.members()
        joined = query.get_final_froms()[0].join(_l, _l.c.id == line)
        joined = joined.outerjoin(_pl, sa.and_(_pl.c.phone_id == ph.c.id, _pl.c.line_id == line))
        suppressed = [
            (ph.c.detached_at.is_not(None), "detached"),
            (ph.c.number.is_(None), "detached"),
            (_pl.c.opted_out_at.is_not(None), "opted_out"),
            (_pl.c.refused_code.is_not(None), "refused"),
            (m.c.paused_until > self.now, "paused"),
        ]
        if broadcast.kind in ASKS:
            suppressed.append((_l.c.two_way.is_(False), "one_way"))
        if broadcast.kind == "check_in":
            # Care needs her own yes: who only stands on an imported list is never asked how she is.
            own = sa.exists().where(_co.c.membership_id == m.c.id, _co.c.kind.in_(("join", "check_ins")), _co.c.withdrawn_at.is_(None))
            suppressed.append((sa.not_(own), "no_consent"))
        opened = sa.func.coalesce(_pl.c.last_inbound_at > self.now - WINDOW, sa.false())
        outside = sa.and_(_l.c.channel == "whatsapp", sa.not_(opened))
        held: list[Any] = [(outside, "window")]
        due: Any = sa.literal(self.now, Moment)
        if self.quiet:
            until = sa.case({name: sa.literal(moment, Moment) for name, moment in self.quiet.items()}, value=zone, else_=_null_moment)
            held.append((until.is_not(None), "quiet_hours"))
            due = sa.case((outside, due), else_=sa.func.coalesce(until, due))
        no = sa.or_(*(condition for condition, _ in suppressed))
        wait = sa.or_(*(condition for condition, _ in held))
        return query.with_only_columns(
            m.c.id.label("membership_id"),
            m.c.person_id.label("person_id"),
            p.c.phone_id.label("phone_id"),
            line.label("line_id"),
            sa.func.coalesce(p.c.language, collective.language).label("language"),
            sa.case((no, SUPPRESSED), (wait, HELD), else_=QUEUED).label("state"),
            sa.case(*suppressed, *held, else_=sa.null()).label("reason"),
            due.label("due_at"),
        ).select_from(joined)


def find_zones(session: Session, collective_id: int) -> frozenset[str]:
    """The zones that members of this collective gave themselves."""
    members = m.join(p, p.c.id == m.c.person_id)
    found = session.scalars(sa.select(p.c.timezone).distinct().select_from(members).where(m.c.collective_id == collective_id))
    return frozenset(zone for zone in found if zone)


def find_audience(session: Session, now: datetime, broadcast: Broadcast, zones: frozenset[str] | None = None) -> Audience:
    """Read what the SELECT needs to know beforehand; ``now`` should be the moment at which the broadcast goes out.

    ``zones`` may be given by whoever asks again and again; one that is missing there counts as not quiet (the mark looks again).
    """
    collective = session.get_one(Collective, broadcast.collective_id)
    zones = find_zones(session, collective.id) if zones is None else zones
    quiet = held_zones(now, {*zones, collective.timezone}, collective.quiet_from, collective.quiet_until)
    return Audience(broadcast, collective, default_line(session, collective.id), now, quiet)
