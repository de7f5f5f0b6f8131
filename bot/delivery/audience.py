"""Who gets a broadcast, on which line, in which language, and who does not: one SELECT for the fan-out and for the preview.

It reads no sealed column, so 140,000 members cost the database's time and not ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.corrected import find_corrected, is_meant
from bot.delivery.expiry import worth_until
from bot.delivery.kinds import ASKS, EARLY
from bot.delivery.quiet import Span, before_the_morning, first_allowed, next_allowed
from bot.delivery.routes import Spread, spread_members
from models import Broadcast, Collective, Consent, GroupMember, Line, Membership, Moment, Person, Phone, PhoneLine
from models.messages import EXPIRED, HELD, QUEUED, SUPPRESSED

# WhatsApp lets us write freely for 24 hours after her last message (twilio docs, WhatsApp sessions).
WINDOW = timedelta(hours=24)
# Members' own quiet hours that one statement tells apart; whoever has rarer ones is held by the last look.
MOST_HOURS = 200

m: Any = Membership.__table__.alias("m")
p: Any = Person.__table__.alias("p")
ph: Any = Phone.__table__.alias("ph")
_pl: Any = PhoneLine.__table__.alias("pl")
_l: Any = Line.__table__.alias("l")
_co: Any = Consent.__table__.alias("co")
_gm: Any = GroupMember.__table__
_null_moment: Any = sa.null().cast(Moment)


class Hours(NamedTuple):
    """What a member said of herself: her zone and her own quiet hours, each None when she never did."""

    zone: str | None
    quiet_from: int | None
    quiet_until: int | None


@dataclass(frozen=True)
class Quiet:
    """Where it is quiet now, with the moment when it ends: by zone for everybody, and for members with hours of their own."""

    zones: Mapping[str, datetime] = field(default_factory=dict)
    own: Mapping[Hours, datetime] = field(default_factory=dict)
    # Own hours that are not quiet now: theirs is the last word for whoever has them.
    open: tuple[Hours, ...] = ()

    @classmethod
    def read(cls, now: datetime, collective: Collective, hours: Iterable[Hours], *, early: bool = False) -> Quiet:
        """Work out the moments. ``early``: for those who agreed to texts before the collective's quiet hours end."""

        def theirs(zone: str | None) -> Span:
            span = Span(zone or collective.timezone, collective.quiet_from, collective.quiet_until)
            return before_the_morning(span) if early else span

        hours = tuple(hours)
        zones = {collective.timezone, *(each.zone for each in hours if each.zone)}
        by_zone = {zone: moment for zone in zones if (moment := next_allowed(now, *theirs(zone))) is not None}
        own: dict[Hours, datetime] = {}
        free = []
        for each in sorted((each for each in hours if each.quiet_from is not None), key=str)[:MOST_HOURS]:
            moment = first_allowed(now, (theirs(each.zone), Span(each.zone or collective.timezone, each.quiet_from, each.quiet_until)))
            if moment is None:
                free.append(each)
            else:
                own[each] = moment
        return cls(by_zone, own, tuple(free))

    def moments(self) -> set[datetime]:
        """Every moment at which somebody may be written to again."""
        return {*self.zones.values(), *self.own.values()}

    def until(self, zone: Any) -> Any:
        """The SQL of the moment for one member, null where nothing is quiet; None when it is quiet nowhere."""
        by_zone = sa.case({name: sa.literal(moment, Moment) for name, moment in self.zones.items()}, value=zone, else_=_null_moment)
        if not self.own:
            return by_zone if self.zones else None
        said = [(_has(hours), sa.literal(moment, Moment)) for hours, moment in self.own.items()]
        rest = by_zone if self.zones else _null_moment
        return sa.case((p.c.quiet_from.is_(None), rest), *said, *((_has(hours), _null_moment) for hours in self.open), else_=rest)


def _has(hours: Hours) -> Any:
    zone = p.c.timezone.is_(None) if hours.zone is None else p.c.timezone == hours.zone
    return sa.and_(zone, p.c.quiet_from == hours.quiet_from, p.c.quiet_until == hours.quiet_until)


def _in_group(membership_id: Any, group_id: int) -> Any:
    return membership_id.in_(sa.select(_gm.c.membership_id).where(_gm.c.group_id == group_id))


@dataclass(frozen=True)
class Audience:
    """The members a broadcast is for, with what the database can not know by itself: the moments, the collective's defaults."""

    broadcast: Broadcast
    collective: Collective
    spread: Spread
    now: datetime
    quiet: Quiet
    # For those who agreed to early texts, when this broadcast may use that.
    early: Quiet | None = None
    # When it is no longer worth sending; None: nobody said.
    expires_at: datetime | None = None
    # What it corrects: then it is for those whom that one reached, may have reached, or would have.
    corrected: tuple[Broadcast, ...] = ()

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
        if self.corrected:
            better = better.where(is_meant(self.corrected, other.c.id, sister.c.phone_id))
            query = query.where(is_meant(self.corrected, m.c.id, p.c.phone_id))
        elif broadcast.group_id is not None:
            better = better.where(_in_group(other.c.id, broadcast.group_id))
            query = query.where(_in_group(m.c.id, broadcast.group_id))
        # Nearly everybody holds her own phone: the plain comparison spares the search for sisters.
        holds_it = sa.func.coalesce(p.c.id == ph.c.current_person_id, sa.false())
        return query.where(sa.or_(holds_it, ~better.correlate(m, p, ph).exists()))

    def rows(self) -> sa.Select[Any]:
        """One row a phone: membership_id, person_id, phone_id, line_id, language, state, reason, due_at.

        What nobody's last look would let through before it is too late is ``expired`` from the beginning.
        """
        broadcast, collective = self.broadcast, self.collective
        line = sa.func.coalesce(m.c.line_id, self.spread.sql(m.c.id))
        zone = sa.func.coalesce(p.c.timezone, collective.timezone)
        query = self.members()
        joined = query.get_final_froms()[0].join(_l, _l.c.id == line)
        joined = joined.outerjoin(_pl, sa.and_(_pl.c.phone_id == ph.c.id, _pl.c.line_id == line))
        suppressed = [
            (ph.c.detached_at.is_not(None), "detached"),
            (ph.c.number.is_(None), "detached"),
            (self._opted_out(), "opted_out"),
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
        until = self._until(zone)
        late: list[Any] = []
        if until is not None:
            held.append((until.is_not(None), "quiet_hours"))
            due = sa.case((outside, due), else_=sa.func.coalesce(until, due))
            ends = self.expires_at
            if ends is not None and any(moment >= ends for quiet in (self.quiet, self.early) if quiet for moment in quiet.moments()):
                late.append((sa.and_(until >= sa.literal(ends, Moment), sa.not_(outside)), "too_late"))
        if self.expires_at is not None and self.expires_at <= self.now:
            late = [(sa.true(), "too_late")]
        no = sa.or_(*(condition for condition, _ in suppressed))
        wait = sa.or_(*(condition for condition, _ in held))
        return query.with_only_columns(
            m.c.id.label("membership_id"),
            m.c.person_id.label("person_id"),
            p.c.phone_id.label("phone_id"),
            line.label("line_id"),
            sa.func.coalesce(p.c.language, collective.language).label("language"),
            sa.case((no, SUPPRESSED), *((condition, EXPIRED) for condition, _ in late), (wait, HELD), else_=QUEUED).label("state"),
            sa.case(*suppressed, *late, *held, else_=sa.null()).label("reason"),
            due.label("due_at"),
        ).select_from(joined)

    def _opted_out(self) -> Any:
        """Whether she said STOP where she would be written to; or on another line of the collective, and never wrote on this one."""
        here = _pl.c.opted_out_at.is_not(None)
        if len(self.spread.lines) < 2:
            return here
        spoken = PhoneLine.__table__.alias("spoken")
        elsewhere = sa.exists().where(
            spoken.c.phone_id == ph.c.id, spoken.c.line_id.in_(self.spread.lines), spoken.c.opted_out_at.is_not(None)
        )
        return sa.or_(here, sa.and_(_pl.c.last_inbound_at.is_(None), elsewhere.correlate(ph)))

    def _until(self, zone: Any) -> Any:
        until = self.quiet.until(zone)
        if until is None or self.early is None:
            return until
        sooner = self.early.until(zone)
        return sa.case((m.c.early_texts, _null_moment if sooner is None else sooner), else_=until)


def find_hours(session: Session, collective_id: int) -> frozenset[Hours]:
    """The zones and quiet hours that members of this collective gave themselves."""
    members = m.join(p, p.c.id == m.c.person_id)
    said = sa.select(p.c.timezone, p.c.quiet_from, p.c.quiet_until).distinct()
    found = session.execute(said.select_from(members).where(m.c.collective_id == collective_id))
    return frozenset(Hours(*row) for row in found)


def find_audience(session: Session, now: datetime, broadcast: Broadcast, hours: frozenset[Hours] | None = None) -> Audience:
    """Read what the SELECT needs to know beforehand; ``now`` should be the moment at which the broadcast goes out.

    ``hours`` may be given by whoever asks again and again; what is missing there counts as not quiet (the mark looks again).
    """
    collective = session.get_one(Collective, broadcast.collective_id)
    hours = find_hours(session, collective.id) if hours is None else hours
    early = Quiet.read(now, collective, hours, early=True) if broadcast.early and broadcast.kind in EARLY else None
    return Audience(
        broadcast,
        collective,
        spread_members(session, collective.id),
        now,
        Quiet.read(now, collective, hours),
        early,
        worth_until(session, broadcast, now),
        find_corrected(session, broadcast),
    )
