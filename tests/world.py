"""Collectives, members and phones for tests, made the way the product makes them; and a phone that texts through the webhook."""

from __future__ import annotations

import hashlib
import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from twilio.request_validator import RequestValidator

from bot import create_app
from bot.deployment import Deployment
from models import Collective, CollectiveLine, Line, Membership, Person, Phone, PhoneLine, Role

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

# A real carrier never repeats a SID; neither do tests, even in one process after another.
_serial = itertools.count(1)


def new_sid(prefix: str = "SM") -> str:
    return prefix + hashlib.md5(f"{next(_serial)}".encode(), usedforsecurity=False).hexdigest()


@dataclass
class Answer:
    """What the webhook said: HTTP status, and the texts in its TwiML."""

    status: int
    texts: list[str]
    raw: bytes = b""
    callbacks: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        assert len(self.texts) == 1, f"expected one message, the bot said {self.texts!r}"
        return self.texts[0]


class World:
    """A deployment with people in it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.store = deployment.store
        self.clock = deployment.clock

    @cached_property
    def app(self) -> Flask:
        return create_app(self.deployment)

    @cached_property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    # --- people and collectives ---------------------------------------------------------------------------------------

    def line(self, address: str = "+15550001111", **values: Any) -> int:
        with self.store.write() as session:
            found = session.scalars(sa.select(Line).where(Line.address == address)).one_or_none()
            if found is None:
                channel = "whatsapp" if address.startswith("whatsapp:") else "sms"
                found = Line(
                    channel=channel,
                    address=address,
                    created_at=self.clock.now(),
                    # Proven a moment ago, so that a test that is not about canaries needs none.
                    **({"carrier_answers_stop": channel == "sms", "mps": 10.0, "proven_at": self.clock.now()} | values),
                )
                session.add(found)
                session.flush()
            return found.id

    def collective(self, word: str = "SANGHA", lines: Sequence[str] = ("+15550001111",), **values: Any) -> int:
        ids = [self.line(address) for address in lines]
        with self.store.write() as session:
            settings = {
                "name": word.title(),
                "word": word.casefold(),
                "timezone": "UTC",
                "language": "en",
                "about": "we meet and act together",
            }
            collective = Collective(created_at=self.clock.now(), **(settings | values))
            session.add(collective)
            session.flush()
            session.add_all(CollectiveLine(collective_id=collective.id, line_id=line, position=n) for n, line in enumerate(ids))
            return collective.id

    def member(
        self,
        collective_id: int,
        number: str,
        *,
        name: str | None = None,
        language: str | None = None,
        timezone: str | None = None,
        roles: Sequence[str] = (),
        spoke_on: str | None = None,
    ) -> int:
        """A member as an import makes one. ``spoke_on``: a line she wrote on a moment ago (opens WhatsApp's window)."""
        now = self.clock.now()
        with self.store.write() as session:
            phone = self._phone(session, number)
            people = session.scalars(sa.select(Person).where(Person.phone_id == phone.id)).all()
            person = next((each for each in people if name is not None and each.name == name), None)
            if person is None:
                person = Person(phone_id=phone.id, name=name, language=language, timezone=timezone, created_at=now)
                session.add(person)
                session.flush()
            if phone.current_person_id is None:
                phone.current_person_id = person.id
            line_id = None
            if spoke_on is not None:
                line_id = session.scalars(sa.select(Line.id).where(Line.address == spoke_on)).one()
                session.add(PhoneLine(phone_id=phone.id, line_id=line_id, last_inbound_at=now))
            membership = Membership(person_id=person.id, collective_id=collective_id, name=name, line_id=line_id, joined_at=now)
            session.add(membership)
            session.flush()
            session.add_all(Role(membership_id=membership.id, role=role) for role in roles)
            return membership.id

    def _phone(self, session: Session, number: str) -> Phone:
        hashed = self.store.hash_number(number)
        phone = session.scalars(sa.select(Phone).where(Phone.number_hash == hashed)).one_or_none()
        if phone is None:
            phone = Phone(number=number, number_hash=hashed, created_at=self.clock.now())
            session.add(phone)
            session.flush()
        return phone

    # --- texting ------------------------------------------------------------------------------------------------------

    def text(self, number: str, body: str | None, to: str = "+15550001111", **overrides: Any) -> Answer:
        """Text from a phone: a signed webhook with the parameters Twilio sends. ``number`` may be whatsapp:+…."""
        parameters = inbound_parameters(number, body, to) | overrides
        parameters = {key: value for key, value in parameters.items() if value is not None}
        return self.post("/twilio/inbound", parameters)

    def post(self, path: str, parameters: dict[str, Any], *, token: str = TOKEN) -> Answer:
        public = self.deployment.settings.public_url
        signature = RequestValidator(token).compute_signature(public + path, parameters)
        response = self.client.post(
            path,
            data=urlencode(parameters, doseq=True),
            content_type="application/x-www-form-urlencoded",
            headers={"X-Twilio-Signature": signature},
        )
        texts, callbacks = [], []
        if response.data.startswith(b"<?xml"):
            for message in ElementTree.fromstring(response.data).findall("Message"):
                texts.append("".join(message.find("Body").itertext()) if message.find("Body") is not None else (message.text or ""))
                callbacks.append(message.get("statusCallback", ""))
        return Answer(response.status_code, texts, response.data, callbacks)


def inbound_parameters(number: str, body: str | None, to: str) -> dict[str, Any]:
    """The full parameter set of an inbound message, as captured from Twilio."""
    sid = new_sid()
    common = {
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": number,
        "To": to,
        "Body": body,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }
    if number.startswith("whatsapp:"):
        return common | {
            "WaId": number.removeprefix("whatsapp:+"),
            "ProfileName": "A. Member",
            "MessageType": "text",
            "ReferralNumMedia": "0",
            "ChannelMetadata": '{"type":"whatsapp","data":{"context":{}}}',
        }
    places = {f"{end}{part}": "" for end in ("From", "To") for part in ("City", "State", "Zip")}
    return common | places | {"FromCountry": "US", "ToCountry": "US"}
