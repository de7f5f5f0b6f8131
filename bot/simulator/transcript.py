"""A conversation on the phones, written as tests/conversations/*.txt are: what a volunteer saw becomes a test that plays it again.

tests/transcripts.py says what each line means. What nobody typed on a phone can not be played (an organizer's act in the console, her
login code): login codes are written as remarks, and the head says the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain

from bot.simulator.clock import CODE_SECONDS, code_of
from bot.simulator.ledger import Message
from bot.simulator.lines import Phone, channel_of
from bot.simulator.world import World

# A pause shorter than this is nobody's pause: sending takes a moment.
SHORT, SHORT_BETWEEN_TEXTS = 2.0, 5.0
MANY_SECONDS = 600  # from here on whole minutes are told
CHANNELS = {"sms": "SMS", "whatsapp": "WhatsApp"}
SIX_DIGITS = re.compile(r"(?<!\d)\d{6}(?!\d)")
# Words with which a line of a transcript says something else.
TAKEN = re.compile(r"(?:bot|after|time|lost|stranger|people|line|quiet|language|collectives|world|begins)\b", re.IGNORECASE)
# A saved file is shared: somebody's real number never stands in it.
INVENTED = re.compile(r"\+1(?:\d{3})?555\d+\Z")
LANGUAGES = ("es", "hi", "hi-Latn")
ROLES = ("organizer", "supporter")
HEAD = """\
# Saved from the simulator's phones. Put it into tests/conversations/, give it a name, and say here in a line what it shows.
# It plays from the start of a fresh demo. What somebody did in the console is not in it.
"""


def write_transcript(world: World, numbers: Sequence[str]) -> str:
    """What happened on these phones (all that are shown, when none is named), in the order it happened."""
    chosen = [phone for phone in list(world.phones.values()) if not numbers or phone.number in numbers]
    names = _name(chosen)
    messages = sorted(chain.from_iterable(world.ledger.entries(phone=phone.number) for phone in chosen), key=lambda one: one.seq)
    began = _begin(world, messages)
    main = _main_channel(messages)
    head = {
        "World": world.conversation.get("World", ""),
        "Begins": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "People": _say_people(chosen, names, bool(world.conversation.get("World"))),
        "Line": main if main == "whatsapp" else "",
    }
    lines = [f"{key}: {value}" for key, value in head.items() if value]
    return HEAD + "\n".join([*lines, "", *_Writer(world, names, main, began).write(messages)]) + "\n"


def _begin(world: World, messages: Sequence[Message]) -> float:
    """When it begins, in seconds since 1970: as the configuration says, else with the first message."""
    first = messages[0].created + messages[0].ahead if messages else world.people_time()
    told = world.conversation.get("Begins", "")
    return min(first, datetime.fromisoformat(told).timestamp()) if told else first


def _name(phones: Iterable[Phone]) -> dict[str, str]:
    """A name for each number, of its own, that a transcript can carry."""
    names: dict[str, str] = {}
    for phone in phones:
        name = " ".join(re.sub(r"[^\w\s.'\u0900-\u097f-]", " ", phone.name).split())[:40]
        if not name or TAKEN.match(name) or name in names.values() or re.search(r" (?:by|taps)\b", name):
            name = f"Phone {phone.number[-4:]}"
        while name in names.values():
            name += "x"
        names[phone.number] = name
    return names


def _say_people(phones: Iterable[Phone], names: dict[str, str], in_known_world: bool) -> str:
    """Who is there. In a known world: whose messages are looked at, by number; else roles and languages, and a newcomer is a stranger."""
    said = []
    for phone in phones:
        if in_known_world:
            notes = [phone.number] if INVENTED.match(phone.number) else []
        else:
            notes = [note for note in (phone.role, phone.language) if note in ROLES + LANGUAGES] + (["code"] if phone.app_secret else [])
        if in_known_world or phone.role != "newcomer":
            said.append(names[phone.number] + (f" ({', '.join(notes)})" if notes else ""))
    return ", ".join(said)


def _main_channel(messages: Iterable[Message]) -> str:
    channels = [channel_of(_line_of(message)) for message in messages if message.kind in ("inbound", "api")]
    return "whatsapp" if channels and set(channels) == {"whatsapp"} else "sms"


def _line_of(message: Message) -> str:
    return message.to if message.kind == "inbound" else message.sender


class _Writer:
    """Writes the lines, and the time that passes between them. Played, no less time passes before a message of the bot's own than did."""

    def __init__(self, world: World, names: dict[str, str], main: str, began: float) -> None:
        self._world, self._names, self._main = world, names, main
        self._told = began  # up to which moment the lines say how time passed

    def write(self, messages: Sequence[Message]) -> Iterator[str]:
        replies: dict[str, list[Message]] = {}
        for message in messages:
            if message.kind == "reply" and message.answers:
                replies.setdefault(message.answers, []).append(message)
        last = "inbound"
        for message in messages:
            if message.kind == "inbound":
                yield from self._pass_time(message, SHORT_BETWEEN_TEXTS)
                yield from self._say_text(message, replies.get(message.sid, []))
            elif message.kind == "api":
                yield from self._pass_time(message, SHORT if last == "inbound" else SHORT_BETWEEN_TEXTS)
                yield from self._say_sent(message)
            elif message.kind == "note":
                yield from _remark(message.body)
            last = message.kind if message.kind in ("inbound", "api") else last

    def _pass_time(self, message: Message, least: float) -> Iterator[str]:
        seconds = math.ceil(message.created + message.ahead - self._told)
        if seconds < least:
            return
        if seconds >= MANY_SECONDS:
            seconds = math.ceil(seconds / 60) * 60
        self._told += seconds
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
            number, seconds = divmod(seconds, size)
            if number:
                yield f"after {number} {unit}{'s' if number > 1 else ''}"

    def _say_text(self, message: Message, replies: Sequence[Message]) -> Iterator[str]:
        who = self._names[message.phone] + self._by(message) + (" taps" if message.tapped else "")
        body = SIX_DIGITS.sub(lambda found: self._as_code(message, found[0]), message.body)
        if message.media:
            yield from _remark(f"{who} sent media, which can not be played: {' '.join(message.media)}")
        if message.status == "failed":
            yield from _remark(f"Chorus did not answer {who}: {body}")
            return
        yield _indent(f"{who}: {body}")
        for reply in replies:
            to_her = reply.phone == message.phone
            yield _indent(f"bot: {reply.body}" if to_her else f"bot to {self._names.get(reply.phone, 'Stranger')}: {reply.body}")
        if not replies:
            yield "bot: (nothing)"

    def _as_code(self, message: Message, digits: str) -> str:
        """`{code}` for what her app showed a moment before: the digits are others when it is played."""
        phone, moment = self._world.phones.get(message.phone), message.created + message.ahead
        shown = (code_of(phone, moment + drift * CODE_SECONDS) for drift in (-2, -1, 0, 1)) if phone is not None else ()
        return "{code}" if digits in shown else digits

    def _say_sent(self, message: Message) -> Iterator[str]:
        line = f"bot to {self._names[message.phone]}{self._by(message)}: {message.body}"
        if SIX_DIGITS.search(message.body):
            yield from _remark("a code for the console, which no text asked for: " + SIX_DIGITS.sub("......", line))
        else:
            yield _indent(line)

    def _by(self, message: Message) -> str:
        channel = channel_of(_line_of(message))
        return "" if channel == self._main else f" by {CHANNELS[channel]}"


def _indent(line: str) -> str:
    """Its further lines as a transcript continues one."""
    first, *others = line.splitlines() or [""]
    return "\n".join([first.rstrip(), *(f"  | {other}".rstrip() for other in others)])


def _remark(words: str) -> Iterator[str]:
    yield from (f"# {line}" for line in words.splitlines())
