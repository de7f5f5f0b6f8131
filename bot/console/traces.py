"""What the audit holds, in the page's language: its acts as they are called, and what each was about, with a way there.

The table keeps short English words, the same for whatever door an act came through (text, console, command line); they are told here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from flask import url_for

from bot.console.access import ACCESS, ROLE_NAMES
from bot.console.looks import say_why
from bot.console.standings import KIND_NAMES
from bot.console.views import count, place, say
from bot.console.words import mark

ACTS = {
    "collective created": mark("collective made"),
    "logged in": mark("logged in to the console"),
    "logged out": mark("logged out"),
    "session ended": mark("ended sessions in the console"),
    "on duty": mark("is on duty"),
    "off duty": mark("is off duty"),
    "peer answered": mark("answered somebody who asked for a peer"),
    "one-time codes set up": mark("app for one-time codes set up"),
    "second factor made": mark("app for one-time codes set up on the server"),
    "sent from the command line": mark("sent from the command line"),
    "yes asked for": mark("other organizers asked for their yes"),
    "approved by code": mark("approved by its author, with a code of the app"),
    "approved by organizer": mark("approved"),
    "hour set": mark("its hour set"),
    "held": mark("held"),
    "released": mark("let go on"),
    "dropped": mark("stopped for good"),
    "unconfirmed sent again": mark("what was not certain sent again"),
    "held by the cap": mark("held: the month's money is spent"),
    "monthly cap set": mark("what a month may cost set"),
    "price set": mark("price set"),
    "poll closed": mark("vote closed early"),
    "note claimed": mark("note taken on"),
    "note let go": mark("note let go"),
    "note answered": mark("note answered"),
    "note closed": mark("note closed without an answer"),
    "member muted": mark("sender muted"),
    "member unmuted": mark("sender heard again"),
    "member changed": mark("a member's language or zone changed"),
    "member's groups changed": mark("a member's groups changed"),
    "member removed": mark("member removed"),
    "members imported": mark("list of members read in"),
    "import undone": mark("list of members taken back"),
    "members exported": mark("list of members taken out"),
    "group saved": mark("group saved"),
    "group renamed": mark("group renamed"),
    "group dissolved": mark("group dissolved"),
    "number change asked": mark("new number asked for"),
    "number change cancelled": mark("new number cancelled"),
    "number change failed": mark("new number refused"),
    "number changed": mark("number changed"),
    "words changed": mark("what it is called, and is, changed"),
    "word to join by changed": mark("word to join by changed"),
    "hours changed": mark("hours changed"),
    "line connected": mark("line connected"),
    "line changed": mark("line changed"),
    "line let go on": mark("line let go on"),
    "template submitted": mark("template handed to WhatsApp"),
}
_DRAFTED, _CHANGED = mark("{what} drafted"), mark("{what} changed")
_ADDED, _TAKEN = mark("given the role: {role}"), mark("role taken away: {role}")
_CHANGE, _CORRECTED, _HELD = mark("change of text {number} drafted"), mark("correction sent from the command line"), mark("held: {why}")

# A change of what stands here is a change of what old rows of the audit say.
_ROLE = re.compile(rf"(?P<role>{'|'.join(ROLE_NAMES)}) (?P<did>added|taken away)")
_KIND = re.compile(rf"(?P<kind>{'|'.join(KIND_NAMES)}) (?P<did>drafted|changed)")
_OF = re.compile(r"change of (?P<number>\d+) drafted")
_BY_CHORUS = re.compile(r"held: (?P<reason>[a-z_]+)(?: (?P<code>\d+))?")
_ABOUT = re.compile(r"(?P<what>broadcast|poll|membership|note|group|import|export) (?P<number>\d+)(?:: (?P<people>\d+))?")
_QUIET = re.compile(r"quiet (?P<hours>none|\d+-\d+), cool-down (?P<seconds>\d+) s")


@dataclass(frozen=True)
class About:
    """What an act was about: ``text``, and ``link`` to it where the viewer may go there."""

    text: str
    link: str | None = None


def say_act(act: str) -> str:
    """An act of the audit in the page's language; one that nobody knows as it stands there."""
    if act in ACTS:
        return say(ACTS[act])
    if found := _ROLE.fullmatch(act):
        return say(_ADDED if found["did"] == "added" else _TAKEN, role=say(ROLE_NAMES[found["role"]]))
    if found := _KIND.fullmatch(act):
        return say(_DRAFTED if found["did"] == "drafted" else _CHANGED, what=say(KIND_NAMES[found["kind"]]))
    if found := _OF.fullmatch(act):
        return say(_CHANGE, number=found["number"])
    if found := _BY_CHORUS.fullmatch(act):
        return say(_HELD, why=say_why(found["reason"], int(found["code"]) if found["code"] else None))
    if re.fullmatch(r"broadcast \d+ corrected", act):
        return say(_CORRECTED)
    return act


def say_about(subject: str) -> About:
    """What an act was about in the page's language; what nobody knows as it stands there."""
    if found := _QUIET.fullmatch(subject):
        hours = say("never quiet") if found["hours"] == "none" else say("quiet {hours}", hours=found["hours"])
        return About(hours + ", " + say("{seconds} seconds to call back", seconds=found["seconds"]))
    found = _ABOUT.fullmatch(subject)
    if found is None:
        return About(subject)
    what, number = found["what"], int(found["number"])
    if what == "broadcast":
        return About(say("text {number}", number=number), _link("console.broadcast", number=number))
    if what == "membership":
        return About(say("the member"), _link("console.member", number=number))
    if what == "note":
        return About(say("note {number}", number=number), _link("console.notes", all=1))
    if what == "export":
        return About(say("and why"), _link("console.exports"))
    if what == "group":
        people = count("1 person came to it", "{n} people came to it", int(found["people"])) if found["people"] else say("the group")
        return About(people, _link("console.members", group=number))
    if what == "import":
        people = count("1 person", "{n} people", int(found["people"])) if found["people"] else say("the list")
        return About(people, _link("console.imports"))
    # Rows from before votes were named by their text hold the poll's own id.
    return About(say("vote"), _link("console.polls"))


def _link(endpoint: str, **values: Any) -> str | None:
    return url_for(endpoint, **values) if place().roles & (ACCESS[endpoint].roles or frozenset()) else None
