"""Shared acts on members: read a number somebody wrote, find the phone, add the member. Every way in (join, import, command) uses these."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import phonenumbers
import sqlalchemy as sa
from phonenumbers import PhoneNumberType, ValidationResult
from sqlalchemy.orm import Session

from bot.members.told import belongs_elsewhere
from models import Collective, Consent, Membership, Person, Phone, Role, Store, sqlite_or_postgres_insert

# What people put between digits: spaces of every kind, dashes of every kind, dots, brackets, a slash.
_SEPARATORS = re.compile(r"[\s.()\[\]/\-‐‑‒–—−·]+")
# Copied from an address book, a number often carries invisible marks for the writing direction.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d+")

_REASONS = {
    "empty": "there is no phone number",
    "not_a_number": "this is not a phone number",
    "rounded": "a spreadsheet rounded this number (1.2E+11): format the column as text and enter it again",
    "two_numbers": "there is more than one number in the cell",
    "extension": "a text message can not reach an extension",
    "no_country": "it has no country code: begin it with + and the code, as +1 or +91 (for a file in national format, give --country)",
    "unknown_country": "no country has this code",
    "too_short": "it is too short",
    "too_long": "it is too long",
    "impossible": "no number looks like this",
    "left": "she left this collective herself: only she can join again",
    "detached": "the person who holds this phone said it is the wrong number",
}


# Of a row of a list: why it is so, another collective may know, and this one is not told.
UNREACHABLE = "nothing can be sent to this number"


class NumberRefused(ValueError):
    """A text is not a phone number that messages could go to; ``reason`` is a key, ``str()`` a sentence without the number."""

    def __init__(self, reason: str) -> None:
        super().__init__(_REASONS[reason])
        self.reason = reason


class MemberRefused(ValueError):
    """Somebody can not be made a member this way; ``reason`` is a key, ``str()`` a sentence without name or number."""

    def __init__(self, reason: str) -> None:
        super().__init__(_REASONS[reason])
        self.reason = reason


def parse_number(text: str, country: str | None = None) -> str:
    """The E.164 form of a number as people write it. ``country``: two letters, for numbers in national format.

    Any possible number is taken, whether or not its range is in use: numbering plans change faster than any list of them
    (``doubts`` tells what looks odd). Raises NumberRefused.
    """
    number = _parse(text, country)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def doubts(number: str) -> str | None:
    """What makes it doubtful that texts reach this E.164 number, as a sentence; None when nothing does."""
    parsed = phonenumbers.parse(number)
    if not phonenumbers.is_valid_number(parsed):
        return "the phone number may not exist: its range is not known to be in use"
    kind = phonenumbers.number_type(parsed)
    if kind == PhoneNumberType.FIXED_LINE:
        return "the phone number looks like a landline: texts may not arrive"
    if kind not in (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE, PhoneNumberType.VOIP, PhoneNumberType.PERSONAL_NUMBER):
        return "the phone number looks like a service number: texts may not arrive"
    return None


def _parse(text: str, country: str | None) -> phonenumbers.PhoneNumber:
    text = _INVISIBLE.sub("", text).strip()
    # ="+1555…" and '+1555… are how people keep a spreadsheet from spoiling a number.
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    text = text.removeprefix("'").removeprefix("tel:").strip()
    if not text:
        raise NumberRefused("empty")
    if _SCIENTIFIC.fullmatch(text):
        raise NumberRefused("rounded")
    if re.search(r"\d\s*(x|ext|extn|extension|#)\.?\s*\d+$", text, re.IGNORECASE):
        raise NumberRefused("extension")
    text = re.sub(r"(?<=\d)\.0$", "", text)  # a number that a program took for a decimal
    text = re.sub(r"^\+?\s*(\d[\d\s]*?)\s*\(0\)", r"+\1", text)  # +44 (0)20 …: the zero is for callers at home
    digits = "".join(_plain_digit(char) for char in _SEPARATORS.sub("", text).replace("＋", "+"))
    if not re.fullmatch(r"\+?\d+", digits):
        several = len(re.findall(r"\d{6,}", digits)) > 1
        raise NumberRefused("two_numbers" if several else "not_a_number")
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    if not digits.startswith("+") and country is None:
        raise NumberRefused("no_country")
    if len(digits) > 16:
        raise NumberRefused("two_numbers" if len(digits) >= 19 else "too_long")
    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException as error:
        kinds = {
            error.INVALID_COUNTRY_CODE: "unknown_country",
            error.TOO_SHORT_NSN: "too_short",
            error.TOO_SHORT_AFTER_IDD: "too_short",
            error.TOO_LONG: "too_long",
        }
        raise NumberRefused(kinds.get(error.error_type, "not_a_number")) from None
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible in (ValidationResult.TOO_SHORT, ValidationResult.IS_POSSIBLE_LOCAL_ONLY):
        raise NumberRefused("too_short")
    if possible == ValidationResult.TOO_LONG:
        raise NumberRefused("too_long")
    if possible != ValidationResult.IS_POSSIBLE:
        raise NumberRefused("impossible")
    return number


def _plain_digit(char: str) -> str:
    digit = unicodedata.digit(char, None) if not char.isascii() and char.isdecimal() else None
    return char if digit is None else str(digit)


@dataclass(frozen=True)
class Speaker:
    """A phone with the person who holds it now."""

    phone: Phone
    person: Person


def find_or_add_phone(session: Session, store: Store, number: str, now: datetime) -> Phone:
    """The phone with this E.164 number, made when it is new. Safe when two transactions meet there."""
    hashed = store.hash_number(number)
    by_hash = sa.select(Phone).where(Phone.number_hash == hashed).with_for_update(key_share=True)
    phone = session.scalars(by_hash).one_or_none()
    if phone is None:
        insert = sqlite_or_postgres_insert(store, Phone.__table__).values(number=number, number_hash=hashed, created_at=now)
        session.execute(insert.on_conflict_do_nothing())
        phone = session.scalars(by_hash).one()
    if phone.number is None:
        phone.number = number  # FORGET keeps only the hash; somebody uses the number again
    return phone


def find_speaker(session: Session, store: Store, number: str, now: datetime) -> Speaker:
    """The phone and whoever holds it; both are made when they are new."""
    phone = find_or_add_phone(session, store, number, now)
    person = session.get(Person, phone.current_person_id) if phone.current_person_id is not None else None
    if person is None:
        person = Person(phone_id=phone.id, created_at=now)
        session.add(person)
        session.flush()
        phone.current_person_id = person.id
    return Speaker(phone, person)


def add_member(
    session: Session,
    store: Store,
    *,
    collective: Collective,
    number: str,
    name: str | None = None,
    language: str | None = None,
    timezone: str | None = None,
    how: str,
    kind: str,
    text_version: str = "given elsewhere",
) -> Membership:
    """Make whoever holds ``number`` (E.164) an active member, with a record of her consent (``kind`` join or import, ``how`` in words).

    What she said of herself stays; only blanks are filled, her language and zone only where no other collective writes to her by them.
    Somebody who is a member already is returned as she is.
    Raises MemberRefused when she left, or the phone was found to be a wrong number, and this is not her own JOIN.
    """
    now = store.clock.now()
    speaker = find_speaker(session, store, number, now)
    own_act = kind == "join"
    if speaker.phone.detached_at is not None:
        if not own_act:
            raise MemberRefused("detached")
        speaker.phone.detached_at = None
    person = speaker.person
    if not session.scalar(sa.select(belongs_elsewhere(person.id, collective.id))):
        person.language, person.timezone = person.language or language, person.timezone or timezone
    wanted = sa.select(Membership).where(Membership.person_id == person.id, Membership.collective_id == collective.id)
    membership = session.scalars(wanted).one_or_none()
    is_here = membership is not None and membership.state == "active"
    if membership is None:
        membership = Membership(person_id=person.id, collective_id=collective.id, joined_at=now)
        session.add(membership)
        session.flush()
    elif not is_here and own_act:
        membership.state, membership.joined_at, membership.left_at = "active", now, None
    elif not is_here:
        raise MemberRefused("left")
    if name and membership.name is None:
        membership.name = name
        find_anew(session, [person.id])
    if is_here:
        return membership
    session.add(
        Consent(
            membership_id=membership.id,
            kind=kind,
            how=how,
            text_version=text_version,
            language=person.language or collective.language,
            given_at=now,
        )
    )
    return membership


def find_anew(session: Session, people: Sequence[int]) -> None:
    """They got a name in a collective: what finds them by name is out of date.

    Also where it says so already: the row is held until the name is committed, so that nobody indexes them without it.
    """
    session.execute(sa.update(Person).where(Person.id.in_(people)).values(name_indexed=False))


def give_role(session: Session, store: Store, membership_id: int, role: str) -> bool:
    """Give a membership a role (organizer, supporter); False when she has it already."""
    insert = sqlite_or_postgres_insert(store, Role.__table__).values(membership_id=membership_id, role=role)
    return session.execute(insert.on_conflict_do_nothing().returning(Role.role)).first() is not None


def find_membership(session: Session, store: Store, collective_id: int, number: str) -> Membership | None:
    """The membership of whoever holds ``number`` (E.164) in this collective, active or not; None when there is none."""
    return session.scalars(
        sa.select(Membership)
        .join(Phone, Phone.current_person_id == Membership.person_id)
        .where(Phone.number_hash == store.hash_number(number), Membership.collective_id == collective_id)
    ).one_or_none()
