"""Conversations as text files: documentation that runs, and that an organizer could write.

    People: Asha, Bela (supporter), Chitra (organizer)     who is there, with roles and languages: "Devi (organizer, hi)"
    Line: whatsapp                                          the kind of line; SMS when nothing is said
    Quiet: 21-8                                             quiet hours; none when nothing is said

    Asha: CHECKIN                                           she texts
    bot: Sangha: how are you today …                        the answer she gets; further lines of it begin with "  | "
    bot: (nothing)                                          the carrier or nobody answers
    bot to Bela: A member would like to talk …              a message of its own, to somebody
    after 13 hours                                          time passes, and what is due happens
    lost: Asha                                              nobody knows whether the last broadcast reached her; the look-ups are over

"Stranger" is a phone that belongs to nobody. ``{code}`` is the organizer's one-time code at that moment.

A conversation that was saved from the simulator's phones has more in its head and beside its names:

    World: demo                                             the people are those of bot/demo/seed.py, who are asked something at once
    Begins: 2026-11-22T13:14:05+00:00                       the moment at which it begins
    People: Asha (+15550002222), Ria                        whose messages are looked at; the others' are not

    Ria by WhatsApp: JOIN SANGHA                            she texts on the other kind of line, and is texted: bot to Ria by WhatsApp: ...
    Ria by WhatsApp taps: Yes                               she taps a button
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import sqlalchemy as sa

from bot.conversation.due import close_due_poll, run_out_patience
from bot.delivery.gateway import Accepted
from bot.delivery.plan import plan_broadcast
from bot.delivery.pump import serve_lines
from bot.delivery.receipts import apply_receipt
from bot.delivery.reports import report_broadcast
from bot.delivery.sweep import sweep
from bot.demo.seed import SMS, WHATSAPP, seed
from bot.schedule.timers import claim_due, finish
from flows import FLOWS
from models import Line as LineRow
from models import Membership, Outbound, Phone, SecondFactor
from tests.world import World, new_sid

LINES = {"sms": SMS, "whatsapp": WHATSAPP}
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
_PERSON = re.compile(r"([^,()]+?) *(?:\(([^)]*)\))? *(?:, *|$)")
_WHO = re.compile(r"(.*?)(?: by (SMS|WhatsApp))?( taps)?")
_TIME = re.compile(r"after (\d+) (second|minute|hour|day)s?")


class InstantCarrier:
    """A gateway that takes everything at once and keeps what it was given; the real one is tried against the simulator."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, str]] = []
        self.unconfirmed: list[tuple[str, str]] = []  # (token, SID) of what no receipt was given for yet
        self._lock = threading.Lock()

    def send(self, *, to: str, sender: str, body: str, callback: str, **_extra: Any) -> Any:
        sid = new_sid()
        with self._lock:
            self.taken.append((to, sender, body))
            self.unconfirmed.append((callback.rpartition("/")[2], sid))
        return Accepted(sid)


@dataclass
class Line:
    """One line of a transcript: who, to whom, what, and where it stands."""

    who: str
    to: str | None
    text: str
    number: int
    channel: str = ""  # sms or whatsapp, where it is not the usual one
    taps: bool = False


def read_transcript(path: Path) -> tuple[dict[str, str], list[Line]]:
    """The head and the conversation of a file."""
    head: dict[str, str] = {}
    lines: list[Line] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not raw.strip() or raw.startswith("#"):
            continue
        if raw.startswith("  |"):
            lines[-1].text += "\n" + raw.removeprefix("  |").removeprefix(" ")
        elif raw.startswith("after "):
            lines.append(Line("time", None, raw, number))
        else:
            who, _, text = raw.partition(":")
            if not lines and who in ("People", "Line", "Quiet", "Language", "Collectives", "World", "Begins"):
                head[who] = text.strip()
                continue
            is_sent = who.startswith("bot to ")
            told = _WHO.fullmatch(who.removeprefix("bot to ").strip())
            assert told is not None
            whom, channel, taps = told[1], (told[2] or "").lower(), bool(told[3])
            lines.append(Line("bot" if is_sent else whom, whom if is_sent else None, text.strip(), number, channel, taps))
    return head, lines


class Player:
    """Plays a transcript against a world and complains at the first difference, naming the line."""

    def __init__(self, world: World, path: Path) -> None:
        self.world, self.path = world, path
        self.head, self.lines = read_transcript(path)
        self.carrier = InstantCarrier()
        self.numbers: dict[str, str] = {"Stranger": "+15557770000"}
        self.channel = "whatsapp" if self.head.get("Line") == "whatsapp" else "sms"
        self.line = LINES[self.channel]
        if "Begins" in self.head:
            world.clock.freeze(datetime.fromisoformat(self.head["Begins"]))
        if self.head.get("World") == "demo":
            self._demo()
        else:
            self._people()

    def _demo(self) -> None:
        """The people of the demo, with their lines proven and fast: nothing here is about the pace."""
        assert seed(self.world.deployment)
        with self.world.store.write() as session:
            session.execute(sa.update(LineRow).values(mps=1000.0, proven_at=self.world.clock.now()))
        for index, match in enumerate(_PERSON.finditer(self.head.get("People", "")), 1):
            self.numbers[match[1]] = match[2] or f"+1555100{index:04d}"

    def _people(self) -> None:
        self.world.line(self.line, mps=1000.0)
        quiet = self.head.get("Quiet")
        hours = {} if quiet is None else dict(zip(("quiet_from", "quiet_until"), map(int, quiet.split("-")), strict=True))
        collectives = [
            self.world.collective(word.strip(), lines=[self.line], language=self.head.get("Language", "en"), **hours)
            for word in self.head.get("Collectives", "SANGHA").split(",")
        ]
        for index, match in enumerate(_PERSON.finditer(self.head.get("People", "")), 1):
            name, notes = match[1], [note.strip() for note in (match[2] or "").split(",") if note.strip()]
            number = f"+1555100{index:04d}"
            self.numbers[name] = number
            roles = [note for note in notes if note in ("organizer", "supporter")]
            language = next((note for note in notes if note in ("en", "es", "hi", "hi-Latn")), None)
            for collective in collectives:
                member = self.world.member(
                    collective,
                    number,
                    name=name,
                    roles=roles,
                    language=language,
                    spoke_on=self.line if collective == collectives[0] else None,
                )
                if "code" in notes:
                    with self.world.store.write() as session:
                        session.add(SecondFactor(membership_id=member, secret=SECRET))

    def play(self) -> None:
        """Play it to the end."""
        answers: list[str] = []
        for line in self.lines:
            where = f"{self.path.name}:{line.number}"
            if line.who == "time":
                assert not answers, f"{where}: the bot also said {answers!r}"
                self._pass_time(line.text)
            elif line.who == "lost":
                self._lose(line.text)
            elif line.who == "bot" and line.to is not None:
                self._deliver()
                self._expect_sent(where, line)
            elif line.who == "bot":
                assert answers, f"{where}: expected {line.text!r}, but the bot said nothing more"
                said = answers.pop(0)
                assert said == line.text, f"{where}: expected\n{line.text}\nthe bot said\n{said}"
            else:
                assert not answers or answers == ["(nothing)"], f"{where}: the bot also said {answers!r}"
                answers = self._text(line)
        self._deliver()
        assert not answers or answers == ["(nothing)"], f"{self.path.name}: at the end the bot also said {answers!r}"
        assert not self._left(), f"{self.path.name}: also sent {self._left()!r}"

    def _text(self, line: Line) -> list[str]:
        if line.who not in self.numbers:
            self.numbers[line.who] = f"+1555200{len(self.numbers):04d}"
        text = line.text
        if "{code}" in text:
            text = text.replace("{code}", pyotp.TOTP(self._secret(self.numbers[line.who])).at(self.world.clock.now()))
        tapped = {"ButtonText": text, "ButtonPayload": text, "MessageType": "button"} if line.taps else {}
        channel = line.channel or self.channel
        answer = self.world.text(_address(channel, self.numbers[line.who]), text, to=LINES[channel], **tapped)
        assert answer.status == 200, f"{self.path.name}:{line.number}: HTTP {answer.status}"
        return answer.texts or ["(nothing)"]

    def _secret(self, number: str) -> str:
        """What her authenticator app holds. Who has none types a code that is wrong."""
        with self.world.store.read() as session:
            found = session.scalars(
                sa.select(SecondFactor.secret)
                .join(Membership, Membership.id == SecondFactor.membership_id)
                .join(Phone, Phone.current_person_id == Membership.person_id)
                .where(Phone.number_hash == self.world.store.hash_number(number))
                .order_by(SecondFactor.membership_id)
            )
            return next(iter(found), SECRET)

    def _lose(self, name: str) -> None:
        self._deliver()
        phone = self.world.store.hash_number(self.numbers[name])
        with self.world.store.write() as session:
            rows = sa.select(Outbound.id).join(Phone, Phone.id == Outbound.phone_id).where(Phone.number_hash == phone)
            newest = session.scalars(rows.where(Outbound.broadcast_id.is_not(None)).order_by(Outbound.id.desc()).limit(1)).one()
            lost = {"state": "unknown", "checks": 2, "check_at": None, "sid": None, "accepted_at": None}
            session.execute(sa.update(Outbound).where(Outbound.id == newest).values(**lost))

    def _pass_time(self, text: str) -> None:
        match = _TIME.fullmatch(text.strip())
        assert match, f"write time as 'after 13 hours', not {text!r}"
        self.world.clock.advance(timedelta(**{match[2] + "s": int(match[1])}))
        self._deliver()

    def _deliver(self) -> None:
        deployment = self.world.deployment
        for _ in range(3):  # a closed poll makes a broadcast, whose fan-out is due at once
            for timer in claim_due(deployment.store, deployment.clock.now()):
                if timer.kind == "broadcast":
                    plan_broadcast(deployment, timer.subject_id)
                elif timer.kind == "poll_close":
                    close_due_poll(deployment, timer)
                elif timer.kind == "patience":
                    run_out_patience(deployment, timer, FLOWS)
                elif timer.kind == "report":
                    report_broadcast(deployment, timer.subject_id, timer.id)
                finish(deployment.store, timer)
        sweep(deployment.store)
        with deployment.store.read() as session:
            waiting = session.scalar(sa.select(sa.func.count()).where(Outbound.state == "queued"))
        if waiting:
            serve_lines(deployment, self.carrier, threading.Event(), seconds=2.0)  # type: ignore[arg-type]
        if "World" in self.head:  # saved from phones that confirm
            for token, sid in self.carrier.unconfirmed:
                apply_receipt(deployment.store, token, "delivered", None, sid)
            self.carrier.unconfirmed.clear()

    def _expect_sent(self, where: str, line: Line) -> None:
        assert line.to is not None
        number = _address(line.channel or self.channel, self.numbers.get(line.to, line.to))
        for index, (to, _, body) in enumerate(self.carrier.taken):
            if to == number:
                assert body == line.text, f"{where}: expected for {line.to}\n{line.text}\nthe bot sent\n{body}"
                del self.carrier.taken[index]
                return
        sent = [(self._name(to), body) for to, _, body in self.carrier.taken]
        raise AssertionError(f"{where}: nothing was sent to {line.to}; sent: {sent!r}")

    def _name(self, number: str) -> str:
        return next((name for name, own in self.numbers.items() if own == number.removeprefix("whatsapp:")), "somebody")

    def _left(self) -> list[tuple[str, str]]:
        """What was sent and no line expects, in the demo's world to those who are looked at."""
        sent = [(self._name(to), body) for to, _, body in self.carrier.taken]
        return [one for one in sent if one[0] != "somebody" or "World" not in self.head]


def _address(channel: str, number: str) -> str:
    return f"whatsapp:{number}" if channel == "whatsapp" else number


def transcripts() -> Iterator[Path]:
    yield from sorted((Path(__file__).parent / "conversations").glob("*.txt"))
