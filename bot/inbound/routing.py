"""Whose answer is this? The order in which a text is tried, one rule a function, most urgent first.

1. the ways out and back (STOP and kin, START, what the carrier tells us);
2. words obeyed in any state; 3. plain requests to stop, in free text; 4. the open question; 5. a broadcast question in flight;
6. the other words; 7. an older vote or RSVP; 8. a doubtful request to stop; 9. the organizers' notes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from bot.conversation import floor, talk
from bot.conversation.actions import forget_person, has_draft
from bot.conversation.speakers import PhoneFacts
from bot.conversation.steps import Word
from bot.conversation.turn import Turn
from bot.delivery.knocks import KNOCK_ANSWERS, answers_knock, something_comes
from bot.inbound import lateness
from bot.inbound.keywords import Match, WordTable
from bot.inbound.message import LONGEST_READ, InboundMessage
from bot.languages import words
from bot.languages.answers import fold
from bot.languages.stop_phrases import OUR_STOP, TWILIO_STOP, judge_stop
from models import Collective, CollectiveLine, Phone, Prepared

START_WORDS = frozenset({"start", "unstop"})
HELP_WORDS = frozenset({"help", "info"})
_INVISIBLE = " \t\n\r\u00a0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
A_DAY = timedelta(hours=24)
LONGEST_WORD = 40  # of a collective: longer texts open no door, and are not looked up
# These flows concern one membership; a member of several collectives on this number is asked which.
CONCERN_ONE = frozenset(
    {"leave", "check_in", "note", "status", "notes", "close", "reply", "send", "alert", "new_poll", "ok", "hold_it", "change", "drop_it"}
    | {"resend_it"}
)
# After a STOP only these still act, because they protect her or bring her back.
ACT_AFTER_STOP = frozenset({"help_", "sos", "wrong", "join", "leave"})


@dataclass(frozen=True)
class Route:
    """What a text was taken for, and what runs. ``silent``: it acts, and the carrier (or nobody) answers."""

    handled_as: str
    run: Callable[[], list[str]]
    silent: bool = False


def decide(turn: Turn, phone: PhoneFacts, message: InboundMessage, table: WordTable, opted_out_by: str | None) -> Route:
    """The route of one message. ``opted_out_by``: who stopped this phone on this line (None: nobody)."""
    text = message.body.strip()[:LONGEST_READ]
    folded = fold(text)
    verdict = judge_stop(text)
    ways_out = _ways_out_and_back(turn, message, text, folded, verdict, opted_out_by)
    if ways_out is not None:
        return ways_out
    match = table.match(text)
    if opted_out_by is not None:
        return _after_stop(turn, phone, table, match, opted_out_by, text)
    if not folded:
        return Route(
            "no words",
            lambda: (
                [words(turn.language, "We can only read words here. Please write it as a text.")]
                if turn.belongings
                else _greet(turn, phone)
            ),
        )
    if not turn.belongings:
        return _stranger(turn, phone, match, text, folded)
    return _member(turn, table, match, text, folded, verdict)


def _flow(turn: Turn, name: str, arguments: dict[str, Any] | None = None, handled_as: str | None = None, silent: bool = False) -> Route:
    return Route(handled_as or name, lambda: talk.begin(turn, turn.flows[name], arguments), silent)


def _ways_out_and_back(
    turn: Turn, message: InboundMessage, text: str, folded: str, verdict: str | None, opted_out_by: str | None
) -> Route | None:
    """STOP, START and HELP as the carrier treats them. Where it answers itself, a second answer of ours would be one too many."""
    told, carrier = message.opt_out_type, turn.line.carrier_answers_stop
    if told == "STOP" or folded in TWILIO_STOP:
        # In quotes or wide letters it is no word of the carrier's: then only we obey, and we say so.
        plain = text.strip(_INVISIBLE).rstrip(_INVISIBLE + ".!?,;:…।").casefold()
        by_carrier = told == "STOP" or (carrier and plain in TWILIO_STOP)
        return _flow(turn, "stop", {"by": "carrier" if by_carrier else "word"}, "STOP", silent=by_carrier)
    if told == "START" or folded in START_WORDS:
        return _flow(turn, "start", None, "START", silent=carrier or told == "START")
    if opted_out_by is not None and folded == "yes":
        return _flow(turn, "start", None, "START", silent=carrier)
    if told == "HELP" or folded in HELP_WORDS:
        return _flow(turn, "help_", None, "HELP", silent=told == "HELP")
    if folded in OUR_STOP or verdict == "stop":
        return _flow(turn, "stop", {"by": "word"}, "STOP", silent=opted_out_by is not None)
    return None


def _after_stop(turn: Turn, phone: PhoneFacts, table: WordTable, match: Match | None, opted_out_by: str, text: str) -> Route:
    """She stopped us, and writes. The carrier would refuse our answer; where only we keep the STOP, she is told the way back."""
    blocked = opted_out_by in ("carrier", "21610")
    if match is not None and match.word.flow == "start" and not blocked:
        return _flow(turn, "start", None, "START")
    if match is None and _opens_a_door(turn, fold(text)):
        match = Match(next(word for word in table.words if word.flow == "join"), text)
    if match is not None and match.word.flow == "forget":
        # She could not answer the question whether she is sure.
        return Route("FORGET", lambda: _forget(turn), silent=True)
    if match is not None and match.word.flow in ACT_AFTER_STOP and (match.word.who == "anyone" or turn.belongings):
        if match.word.flow == "join" and not blocked:
            return Route("JOIN", lambda: [*_lift(turn), *talk.begin(turn, turn.flows["join"], match.arguments)])
        # HELP is answered whoever keeps the STOP (the contract), in every language it is spelled.
        return Route(match.word.name, lambda: _act_without_asking(turn, match), silent=blocked and match.word.flow != "help_")
    if blocked:
        return Route("after STOP", list)
    way_back = words(turn.language, "You stopped texts from this number. To get them again, send START.")
    return Route("after STOP", lambda: _once_a_day(turn, phone, way_back))


def _act_without_asking(turn: Turn, match: Match) -> list[str]:
    """She could not answer a question, so LEAVE means every collective on this number; what a flow would ask is left open."""
    texts = []
    for belonging in turn.belongings if match.word.flow in CONCERN_ONE and turn.here is None else (turn.here,):
        turn.here = belonging
        texts += talk.begin(turn, turn.flows[match.word.flow], match.arguments)
    talk.end_all(turn)
    return texts


def _lift(turn: Turn) -> list[str]:
    talk.begin(turn, turn.flows["start"])
    return []


def _forget(turn: Turn) -> list[str]:
    forget_person(turn)
    return []


def _stranger(turn: Turn, phone: PhoneFacts, match: Match | None, text: str, folded: str) -> Route:
    """Nobody we know: a door in, help, a way out; for the rest one kind answer a day, and nobody's notes."""
    if match is not None and match.word.name == "FORGET":
        return Route(
            "FORGET",
            lambda: [*_forget(turn), words(turn.language, "Done. All we held on you is deleted. Delete this chat on your phone too.")],
        )
    if match is not None and match.word.who == "anyone":
        return _flow(turn, match.word.flow, match.arguments, match.word.name)
    if _opens_a_door(turn, folded):
        return _flow(turn, "join", {"word": text}, "JOIN")
    return Route("stranger", lambda: _greet(turn, phone))


def _greet(turn: Turn, phone: PhoneFacts) -> list[str]:
    if phone.detached_at is not None:
        return []  # the number changed hands: whoever holds it now learns nothing from us
    door = words(turn.language, "This is the number of a group. To join, send JOIN and the group's word. STOP ends all texts.")
    return _once_a_day(turn, phone, door)


def _once_a_day(turn: Turn, phone: PhoneFacts, text: str) -> list[str]:
    """One kind answer a day: a robot at the other end must not be talked to, and who stopped us has heard it once."""
    if phone.stranger_answered_at is not None and phone.stranger_answered_at > turn.now - A_DAY:
        return []
    turn.session.execute(sa.update(Phone).where(Phone.id == phone.id).values(stranger_answered_at=turn.now))
    return [text]


_DOOR = Prepared(
    sa.select(CollectiveLine.collective_id)
    .join(Collective, Collective.id == CollectiveLine.collective_id)
    .where(CollectiveLine.line_id == sa.bindparam("line"), Collective.word == sa.bindparam("word"))
)


def _opens_a_door(turn: Turn, folded: str) -> bool:
    """Whether the whole text is the word of a collective on this line."""
    if not 0 < len(folded) <= LONGEST_WORD:
        return False
    return _DOOR.first(turn.session, {"line": turn.line.id, "word": folded}) is not None


def _member(turn: Turn, table: WordTable, match: Match | None, text: str, folded: str, verdict: str | None) -> Route:
    if folded in KNOCK_ANSWERS and _answers_knock(turn):
        return Route("knock", lambda: _what_waited(turn))
    open_question = talk.on_the_floor(turn)
    if open_question is not None and turn.sent_at is not None and open_question.last_heard_at > turn.sent_at:
        open_question = None  # it was put after she wrote: a late text is no answer to a later question
    if open_question is not None and open_question.collective_id is not None:
        turn.here = next((b for b in turn.belongings if b.collective_id == open_question.collective_id), turn.here)
    obeyed = _obeyed(turn, match, open_question is not None)
    if obeyed is not None and obeyed.word.always:
        return _word(turn, obeyed)
    if open_question is not None:
        known = open_question.flow in turn.flows
        if known and not talk.is_for_another(turn, open_question, text, lambda: obeyed is not None or _opens_a_door(turn, folded)):
            return Route("answer", lambda: _handed_over(turn, table, talk.answer(turn, open_question, text)))
        # A question that may be ignored was ignored, or its flow is gone from this deploy: her words go on as if nothing were open.
        talk.end(turn, open_question.id)
    answered = floor.take_answer(turn, text, in_flight=True)
    if answered is not None:
        return Route("answer", lambda: answered)
    if obeyed is not None:
        return _word(turn, obeyed)
    if _opens_a_door(turn, folded):
        return _flow(turn, "join", {"word": text}, "JOIN")
    changed = floor.take_answer(turn, text, in_flight=False)
    if changed is not None:
        return Route("answer", lambda: changed)
    if verdict == "doubt":
        return _flow(turn, "stop_asked", None, "stop?")
    if len(folded) <= 2 and folded.isalnum():
        if turn.sent_at is not None:
            return Route("late answer", lambda: lateness.say_refused(turn))
        # A late letter or digit: perhaps how she is, on a bad day. It says nothing to an organizer, and is not theirs to read.
        return Route("late answer", lambda: [words(turn.language, "No question is open now. MENU shows what you can do.")])
    if floor.may_be_care(turn):
        return _flow(turn, "care_words", {"text": text}, "care")
    return _concerning_one(turn, "note", {"text": text}, "note", text)


def _answers_knock(turn: Turn) -> bool:
    """The last that she saw of us on WhatsApp was "a note is waiting": her 1 is for that, whatever was asked before."""
    known = turn.line.channel == "whatsapp" and turn.phone_id is not None
    return known and answers_knock(turn.session, turn.now, turn.phone_id or 0, turn.line.id)


def _what_waited(turn: Turn) -> list[str]:
    """What waited is on its way, and is the answer; only when nothing is there any more does she get one of ours."""
    if something_comes(turn.session, turn.phone_id or 0, turn.line.id):
        return []
    return [words(turn.language, "Nothing is waiting any more. MENU shows what you can do.")]


def _obeyed(turn: Turn, match: Match | None, question_open: bool) -> Match | None:
    """The word, if it is one for this speaker and what follows it is what the word takes; else her text is just a text."""
    if match is None or not _may(turn, match.word):
        return None
    if match.word.capitals and not match.typed.isupper():
        return None
    if match.word.takes in ("number", "days") and match.rest is not None and not fold(match.rest).isdecimal():
        return None
    if match.word.takes == "hours" and match.rest is not None and not any(sign.isdecimal() for sign in match.rest):
        return None  # "quiet please, I am at work"
    if match.word.name == "JOIN" and not _is_a_door(turn, match.rest or "") and (question_open or " " in (match.rest or "")):
        return None
    return match


def _is_a_door(turn: Turn, word: str) -> bool:
    return bool(turn.session.scalar(sa.select(Collective.id).where(Collective.word == fold(word))))


def _may(turn: Turn, word: Word) -> bool:
    roles = {role for belonging in turn.belongings for role in belonging.roles}
    if word.who in ("anyone", "member"):
        return True
    if word.who == "organizer with a draft":
        return "organizer" in roles and has_draft(turn)
    return any(role in roles for role in word.who.split(" or "))


def _word(turn: Turn, match: Match) -> Route:
    text = match.word.name if match.rest is None else f"{match.word.name} {match.rest}"
    if lateness.is_refused(turn, match.word):
        return Route("late", lambda: lateness.say_refused(turn))
    roles = () if match.word.who in ("anyone", "member") else tuple(match.word.who.replace(" with a draft", "").split(" or "))
    return _concerning_one(turn, match.word.flow, match.arguments, match.word.name, text, roles)


def _concerning_one(turn: Turn, flow: str, arguments: dict[str, Any], handled_as: str, text: str, roles: tuple[str, ...] = ()) -> Route:
    """Run a flow; if it concerns one membership and she has several here (with the role it needs), ask which first."""
    if flow in CONCERN_ONE:
        mine = [belonging for belonging in turn.belongings if not roles or belonging.roles & set(roles)]
        if turn.here not in mine:
            turn.here = mine[0] if len(mine) == 1 else None
        if turn.here is None:
            return _flow(turn, "which_group", {"text": text, "groups": [belonging.collective_id for belonging in mine]}, "which group?")
    return _flow(turn, flow, arguments, handled_as)


def _handed_over(turn: Turn, table: WordTable, texts: list[str]) -> list[str]:
    """She said what her earlier text was meant for: hear it again, there."""
    handoff, turn.handoff = turn.handoff, None
    if handoff is None:
        return texts
    if handoff.outbound_id is not None:
        candidate = floor.find_candidate(turn, handoff.outbound_id)
        if candidate is None:
            return [*texts, words(turn.language, "That question is closed now. Thank you.")]
        return [*texts, *floor.answer_candidate(turn, handoff.text, candidate)]
    turn.here = next((belonging for belonging in turn.belongings if belonging.collective_id == handoff.collective_id), None)
    if turn.here is None:  # she was taken out of it since we asked
        return [*texts, words(turn.language, "That question is closed now. Thank you.")]
    match = _obeyed(turn, table.match(handoff.text), False)
    route = _word(turn, match) if match is not None else _flow(turn, "note", {"text": handoff.text})
    return [*texts, *route.run()]
