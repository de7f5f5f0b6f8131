"""`python -m bot.demo.seed`: a small collective to try Chorus with, and the phones that the simulator shows.

Uses the environment's deployment. May be run again: what is there stays as it is. The collective has no quiet hours, which a real
one should have: whoever tries Chorus at night must not wait for the morning.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyotp
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bot.delivery.broadcasts import approve_broadcast, draft_broadcast
from bot.delivery.plan import plan_broadcast
from bot.demo.home import write_private
from bot.deployment import Deployment, open_deployment
from bot.members import add_member, give_role
from bot.settings import SettingsRefused
from models import Alert, Collective, CollectiveLine, Consent, Group, GroupMember, Line, Membership, Phone, Poll, SecondFactor, Store
from models import Person as PersonRow

WORD, ZONE = "sangha", "Asia/Kolkata"
SMS, WHATSAPP = "+15550001111", "whatsapp:+15550003333"


@dataclass(frozen=True)
class Person:
    """Somebody in the demo.

    ``shown``: her phone is on the simulator's page. ``in_care``: she said yes to check-ins. ``has_app``: an authenticator app gives her
    the codes that sends and exports ask for.
    """

    number: str
    name: str
    language: str
    roles: tuple[str, ...] = ()
    shown: bool = False
    in_care: bool = False
    groups: tuple[str, ...] = ()
    has_app: bool = False


PEOPLE = (
    Person("+15550002222", "Asha", "en", ("organizer",), shown=True, has_app=True),
    Person("+15550002223", "Miguel", "es", ("organizer",), shown=True, has_app=True),
    Person("+15550002224", "Grace", "en", ("supporter",), shown=True),
    Person("+15550002225", "शबाना", "hi", ("supporter",)),
    Person("+15550004001", "Maya", "en", shown=True, groups=("assembly",)),
    Person("+15550004002", "Lucia", "es", shown=True, groups=("assembly",)),
    Person("+15550004003", "सुनीता", "hi", shown=True, groups=("assembly", "drivers")),
    Person("+15550004004", "Noor", "en", shown=True, in_care=True, groups=("care",)),
    Person("+15550004005", "Sam", "en", groups=("assembly", "drivers")),
    Person("+15550004006", "Diego", "es", groups=("assembly",)),
    Person("+15550004007", "Carmen", "es", groups=("assembly", "drivers")),
    Person("+15550004008", "रमेश", "hi", groups=("assembly",)),
    Person("+15550004009", "Kavita", "hi-Latn", groups=("assembly",)),
    Person("+15550004010", "Tess", "en", in_care=True, groups=("care",)),
)
# Not a member yet: JOIN SANGHA begins here.
NEWCOMER = {"number": "+15550005001", "name": "A newcomer", "role": "newcomer", "channel": "sms", "line": SMS}
NEWCOMER_BY_WHATSAPP = {"number": "+15550005002", "name": "Another newcomer", "role": "newcomer", "channel": "whatsapp", "line": WHATSAPP}

POLL = {
    "en": "Where shall we meet on Sunday?",
    "es": "¿Donde nos reunimos el domingo?",
    "hi": "रविवार को कहाँ मिलें?",
}
POLL_OPTIONS = {
    "en": ["The library", "Gandhi Park", "Online"],
    "es": ["La biblioteca", "Parque Gandhi", "Por internet"],
    "hi": ["पुस्तकालय", "गांधी पार्क", "ऑनलाइन"],
}
ALERT = {
    "en": "Rally tomorrow 10am, Gandhi Chowk. Bring water.",
    "es": "Marcha mañana 10am, Gandhi Chowk. Traiga agua.",
    "hi": "रैली कल सुबह 10, गांधी चौक",
}


def seed(deployment: Deployment) -> bool:
    """Put the demo into an empty deployment; False when its collective is there already. All of it or nothing."""
    store, now = deployment.store, deployment.clock.now()
    _ = store.index_key  # made before the transaction: SQLite has one writer at a time
    with store.write() as session:
        if session.scalars(sa.select(Collective.id).where(Collective.word == WORD)).first() is not None:
            return False
        collective = _add_collective(session, now)
        _add_people(session, store, collective, now)
        broadcasts = _add_broadcasts(session, collective, now)
    for broadcast_id in broadcasts:
        plan_broadcast(deployment, broadcast_id)
    return True


def _add_collective(session: Session, now: datetime) -> Collective:
    collective = Collective(
        name="Sangha", word=WORD, about="a demo of a neighbourhood collective", timezone=ZONE, language="en", created_at=now
    )
    lines = [
        Line(channel="sms", address=SMS, country="US", mps=10.0, created_at=now),
        Line(channel="whatsapp", address=WHATSAPP, country="US", carrier_answers_stop=False, mps=10.0, created_at=now),
    ]
    session.add_all([collective, *lines])
    session.flush()
    session.add_all(CollectiveLine(collective_id=collective.id, line_id=line.id, position=n) for n, line in enumerate(lines))
    return collective


def _add_people(session: Session, store: Store, collective: Collective, now: datetime) -> None:
    names = sorted({group for person in PEOPLE for group in person.groups})
    groups = {name: Group(collective_id=collective.id, name=name) for name in names}
    session.add_all(groups.values())
    session.flush()
    for person in PEOPLE:
        member = add_member(
            session,
            store,
            collective=collective,
            number=person.number,
            name=person.name,
            language=person.language,
            how="invented for the demo",
            kind="import",
        )
        for role in person.roles:
            give_role(session, store, member.id, role)
        if person.has_app:
            secret = pyotp.random_base32()
            # As old as if she had set it up long ago: one made in the console counts only a day later.
            session.add(SecondFactor(membership_id=member.id, secret=secret, good_from=now - timedelta(days=30)))
        session.add_all(GroupMember(group_id=groups[group].id, membership_id=member.id) for group in person.groups)
        if person.in_care:
            session.add(Consent(membership_id=member.id, kind="check_ins", text_version="demo", language=person.language, given_at=now))


def _add_broadcasts(session: Session, collective: Collective, now: datetime) -> list[int]:
    """A call to an action for everyone, a vote for the assembly, a check-in for those who said yes to it: approved, ready to leave."""
    groups: dict[str, int] = {
        name: id for name, id in session.execute(sa.select(Group.name, Group.id).where(Group.collective_id == collective.id))
    }
    tomorrow = (now.astimezone(ZoneInfo(ZONE)) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    alert = Alert(collective_id=collective.id, starts_at=tomorrow.astimezone(UTC), created_at=now)
    poll = Poll(collective_id=collective.id, options=len(POLL_OPTIONS["en"]), created_at=now)
    session.add_all([alert, poll])
    session.flush()
    made = [
        draft_broadcast(session, now, collective.id, "alert", ALERT, alert_id=alert.id),
        draft_broadcast(session, now, collective.id, "poll", POLL, options=POLL_OPTIONS, poll_id=poll.id, group_id=groups["assembly"]),
        draft_broadcast(session, now, collective.id, "check_in", {}, group_id=groups["care"]),
    ]
    for broadcast in made:
        approve_broadcast(session, now, broadcast, how="cli")
    return [broadcast.id for broadcast in made]


def read_app_secrets(store: Store) -> dict[str, str]:
    """{number: secret} of whoever has an authenticator app here: they stand in the database, sealed, and on the simulator's phones."""
    numbers = {store.hash_number(person.number): person.number for person in PEOPLE if person.has_app}
    with store.read() as session:
        found = session.execute(
            sa.select(Phone.number_hash, SecondFactor.secret)
            .join(PersonRow, PersonRow.phone_id == Phone.id)
            .join(Membership, Membership.person_id == PersonRow.id)
            .join(SecondFactor, SecondFactor.membership_id == Membership.id)
            .where(Phone.number_hash.in_(numbers))
        )
        return {numbers[number_hash]: secret for number_hash, secret in found}


def read_beginning(store: Store) -> datetime:
    """When the demo was seeded."""
    with store.read() as session:
        return session.scalars(sa.select(Collective.created_at).where(Collective.word == WORD)).one()


def simulator_config(app_secrets: Mapping[str, str], began: datetime) -> dict[str, Any]:
    """The lines and the phones that the simulator's page shows.

    ``app_secrets``: what the authenticator apps hold, by number. ``began``: when the demo was seeded; a conversation that is saved there
    is played from that moment on (tests/transcripts.py).
    """
    phones = [
        {
            "number": person.number,
            "name": person.name,
            "role": "survivor" if person.in_care else next(iter(person.roles), "member"),
            "channel": "sms",
            "line": SMS,
            "language": person.language,
            "app_secret": app_secrets.get(person.number, ""),
        }
        for person in PEOPLE
        if person.shown
    ]
    lines = [
        {"address": SMS, "label": "Sangha by SMS", "mps": 10},
        {"address": WHATSAPP, "label": "Sangha by WhatsApp", "mps": 10},
    ]
    conversation = {"World": "demo", "Begins": began.isoformat(timespec="seconds")}
    return {"lines": lines, "phones": [NEWCOMER, *phones, NEWCOMER_BY_WHATSAPP], "conversation": conversation}


def main() -> int:
    """Seed, write the simulator's configuration, say what was done. Exit code 1 when the settings are refused."""
    try:
        deployment = open_deployment()
    except SettingsRefused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    try:
        is_new = seed(deployment)
        config = simulator_config(read_app_secrets(deployment.store), read_beginning(deployment.store))
    finally:
        deployment.store.close()
    home = deployment.settings.chorus_home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(home / "simulator.json", json.dumps(config, ensure_ascii=False, indent=2) + "\n")
    print(f"{'Seeded' if is_new else 'Already there'}: Sangha (JOIN {WORD.upper()} to {SMS}), {len(PEOPLE)} people, no quiet hours.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
