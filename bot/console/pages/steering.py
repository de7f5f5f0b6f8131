"""What may be done to a text to many: say yes, hold, release, stop, send again. The same acts as by text, with the same checks.

Each acts once: whoever comes second (a double click, a stale tab, the other organizer) sees the page as it stands, and why.
"""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue

from bot.console.acting import act_as_viewer
from bot.console.blueprint import page
from bot.console.pages.broadcasts import ASKED, find_broadcast, no_such_text, show_broadcast, standing_of, why_gone, words_to_ask
from bot.console.views import now
from bot.conversation.actions.approving import approve_by_other, approve_own, hold
from bot.conversation.actions.correcting import drop, resend
from bot.conversation.actions.drafting import LONGEST_DRAFT, ask_others, audit, find_by_number, leaves_at
from bot.conversation.actions.drafts import DRAFT_LASTS
from bot.delivery.broadcasts import read_texts, refuse_reason
from bot.delivery.due import happens_first
from models import Broadcast
from models.broadcasts import DONE, DRAFT, HELD, STOPPED


@page("/<word>/broadcasts/<int:number>/ask", methods=("POST",))
def ask_for_yes(number: int) -> ResponseReturnValue:
    """The other organizers get the whole text on their phones, and say yes by an OK. Once for each version of it."""
    trouble = None
    with act_as_viewer() as turn:
        draft = find_by_number(turn, str(number))
        if draft is None or find_broadcast(turn.session, number) is None:
            return no_such_text()
        words = words_to_ask(read_texts(turn.session, draft.id))
        if draft.state != DRAFT or draft.created_at <= now() - DRAFT_LASTS:
            trouble = why_gone(draft)
        elif len(words) > LONGEST_DRAFT or refuse_reason(turn.session, leaves_at(turn, draft), draft) is not None:
            trouble = "refused"
        elif not happens_first(turn.session, now(), "told", draft.id, f"{ASKED}:{draft.id}:{draft.number}"):
            trouble = "asked"
        elif ask_others(turn, draft, words):
            audit(turn, ASKED, draft)
    return _back(number, trouble)


@page("/<word>/broadcasts/<int:number>/approve", methods=("POST",))
def approve_own_draft(number: int) -> ResponseReturnValue:
    """The author's own yes; the guard has asked for a code of her app."""
    with act_as_viewer() as turn:
        draft = find_by_number(turn, str(number))
        if draft is None:
            return no_such_text()
        if _has_moved(draft):
            return _back(number, "moved")
        done = approve_own(turn, draft)
        trouble = None if done["sent"] else (why_gone(draft) if done["why"] == "gone" else done["why"])
    return _back(number, trouble)


@page("/<word>/broadcasts/<int:number>/yes", methods=("POST",))
def approve_or_release(number: int) -> ResponseReturnValue:
    """Another organizer's yes: to a draft, or to what was held. As by OK 47: by phone, not by name."""
    with act_as_viewer() as turn:
        found = find_by_number(turn, str(number))
        if found is None:
            return no_such_text()
        if _has_moved(found):
            return _back(number, "moved")
        done = approve_by_other(turn, str(number))
        trouble = None if done["sent"] else (why_gone(found) if done["why"] == "gone" else done["why"])
    return _back(number, trouble)


@page("/<word>/broadcasts/<int:number>/hold", methods=("POST",))
def hold_broadcast(number: int) -> ResponseReturnValue:
    """Nothing more of it leaves until somebody else lets it go."""
    with act_as_viewer() as turn:
        if find_broadcast(turn.session, number) is None:
            return no_such_text()
        done = hold(turn, str(number))
    return _back(number, None if done["held"] else "no_hold")


@page("/<word>/broadcasts/<int:number>/stop", methods=("POST",))
def stop_for_good(number: int) -> ResponseReturnValue:
    """Nothing more of it leaves, for ever."""
    with act_as_viewer() as turn:
        found = find_by_number(turn, str(number))
        if found is None:
            return no_such_text()
        was_over = found.state in (DONE, STOPPED)
        if not was_over:
            drop(turn, str(number))
        trouble = ("dropped" if found.state == STOPPED else "no_hold") if was_over else None
    return _back(number, trouble)


@page("/<word>/broadcasts/<int:number>/again", methods=("POST",))
def send_again(number: int) -> ResponseReturnValue:
    """What nobody can tell the fate of goes out again, once each."""
    with act_as_viewer() as turn:
        if find_by_number(turn, str(number)) is None:
            return no_such_text()
        done = resend(turn, str(number))
    return _back(number, None if done["resent"] else "nothing_again")


def _has_moved(found: Broadcast) -> bool:
    """Whether she decided about something else: a yes to a draft must not lift a hold that came while she was reading.

    Without a word of what she saw, a yes is to a draft that nobody holds. Where it is over for good, the act itself says why.
    """
    seen = request.form.get("seen", f"{DRAFT}:")
    return found.state in (DRAFT, HELD) and seen != standing_of(found)


def _back(number: int, trouble: str | None = None) -> ResponseReturnValue:
    """To the page of the text; where nothing was done, as it stands now, with the reason."""
    return show_broadcast(number, trouble) if trouble else redirect(url_for("console.broadcast", number=number), 303)
