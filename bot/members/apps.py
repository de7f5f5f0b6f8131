"""Setting up the app for one-time codes in the console: it counts a day later, and she and the organizers are told, so that a thief is
noticed in time. Another app in place of one needs a code of that one, which works until the new one counts.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from bot.delivery.outbox import Letter, put
from bot.delivery.reports import tell_organizers
from bot.delivery.routes import NoLine, line_for
from bot.delivery.second_factor import check_factor
from bot.languages import words
from bot.members.governing import ORGANIZER, holders
from models import Audit, Collective, Membership, Person, SecondFactor

COUNTS_AFTER = timedelta(days=1)


def set_up_app(session: Session, now: datetime, membership_id: int, secret: str, step: int, old_code: str) -> str:
    """Keep the secret of a member's app, whose code of ``step`` she just gave: right, or what ``check_factor`` says to the old app's code.

    The first one needs no old code. Sent twice, a form sets up one app. Ring after the commit: texts are put.
    """
    # One form at a time: a double click must not make two rows.
    member = session.get_one(Membership, membership_id, with_for_update={"key_share": True})
    factor = session.get(SecondFactor, membership_id, with_for_update=True)
    if factor is not None and secret in (factor.secret, factor.next_secret):
        return "right"
    if factor is not None:
        verdict = check_factor(session, now, membership_id, old_code, before_its_day=True)
        if verdict != "right":
            return verdict
    counts_from = now + COUNTS_AFTER
    if factor is None:
        session.add(SecondFactor(membership_id=membership_id, secret=secret, last_step=step, good_from=counts_from))
    elif factor.good_from is not None and factor.good_from > now:
        # The one before counts for nothing yet: there is nothing to go on with in the meantime.
        factor.secret, factor.last_step, factor.good_from = secret, step, counts_from
    else:
        factor.next_secret, factor.next_from = secret, counts_from
    session.add(Audit(collective_id=member.collective_id, membership_id=membership_id, act="one-time codes set up", at=now))
    _tell(session, now, member, step)
    return "right"


def _tell(session: Session, now: datetime, member: Membership, step: int) -> None:
    collective, person = session.get_one(Collective, member.collective_id), session.get_one(Person, member.person_id)
    others = [each for each in holders(session, collective.id, ORGANIZER) if each != member.id]

    def make_text(language: str) -> str:
        return words(
            language,
            "{collective}: somebody set up a new app for codes, good from tomorrow. Whose? Look in the console, Who did what, and ask her.",
            collective=collective.name,
        )

    tell_organizers(session, now, collective.id, make_text, key=f"app:{member.id}:{step}", only=others)
    language = person.language or collective.language
    try:
        line_id = line_for(session, member.id)
    except NoLine:
        return
    text = words(
        language,
        "{collective}: a new app for codes was set up for you, good from tomorrow. Not you? Tell another organizer today.",
        collective=collective.name,
    )
    # A warning: neither night nor a pause may hold it.
    put(session, now, Letter("report", text, language, line_id, person.phone_id, person.id, member.id, collective.id, unprompted=False))
