"""Who may open what: one table of every route, default closed. A route that is not in it answers nobody, and fails the tests.

Roles stand beside one another, none contains another: an organizer sees no care, a supporter sends nothing, an admin reads no notes.
Somebody with two roles may do what either may.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.console.words import mark

VIEWER, BROADCASTER, ORGANIZER, SUPPORTER, STEWARD, ADMIN = "viewer", "broadcaster", "organizer", "supporter", "steward", "admin"
ROLES = (VIEWER, BROADCASTER, ORGANIZER, SUPPORTER, STEWARD, ADMIN)
ROLE_NAMES = {
    VIEWER: mark("viewer"),
    BROADCASTER: mark("broadcaster"),
    ORGANIZER: mark("organizer"),
    SUPPORTER: mark("supporter"),
    STEWARD: mark("steward"),
    ADMIN: mark("admin"),
}


@dataclass(frozen=True)
class Access:
    """Who may open a route. ``roles`` None: anybody at all, logged in or not; empty: anybody who is logged in.

    ``proof``: it sends, exports or changes roles, so a one-time code of the app must have been given within minutes (``proof``).
    """

    roles: frozenset[str] | None
    proof: bool = False


def _only(*roles: str, proof: bool = False) -> Access:
    return Access(frozenset(roles), proof)


ANYBODY = Access(None)
LOGGED_IN = Access(frozenset())
EVERY_ROLE = _only(*ROLES)

# Endpoint -> who. The pages add theirs below, in the order of the navigation.
ACCESS: dict[str, Access] = {
    "console.static": ANYBODY,
    "console.status": ANYBODY,
    "console.login": ANYBODY,
    "console.ask_for_code": ANYBODY,
    "console.enter_code": ANYBODY,
    "console.log_out": LOGGED_IN,
    "console.start": LOGGED_IN,
    "console.account": LOGGED_IN,
    "console.end_session": LOGGED_IN,
    "console.set_language": ANYBODY,
    "console.show_factor": LOGGED_IN,
    "console.keep_factor": LOGGED_IN,
    "console.home": EVERY_ROLE,
    "console.home_now": EVERY_ROLE,
    "console.take_duty": _only(SUPPORTER),
    "console.notes": _only(ORGANIZER),
    "console.note_thread": _only(ORGANIZER),
    "console.claim_thread": _only(ORGANIZER),
    "console.answer_thread": _only(ORGANIZER),
    "console.close_thread": _only(ORGANIZER),
    "console.mute_thread": _only(ORGANIZER),
    "console.unmute_thread": _only(ORGANIZER),
    "console.broadcasts": _only(VIEWER, BROADCASTER, ORGANIZER, STEWARD),
    "console.broadcast": _only(VIEWER, BROADCASTER, ORGANIZER, STEWARD),
    "console.broadcast_live": _only(VIEWER, BROADCASTER, ORGANIZER, STEWARD),
    "console.broadcast_ahead": _only(VIEWER, BROADCASTER, ORGANIZER, STEWARD),
    "console.compose": _only(BROADCASTER, ORGANIZER),
    "console.compose_look": _only(BROADCASTER, ORGANIZER),
    "console.edit_draft": _only(BROADCASTER, ORGANIZER),
    "console.correct_broadcast": _only(ORGANIZER),
    "console.ask_for_yes": _only(BROADCASTER, ORGANIZER),
    # Every yes in the console takes a code of an app, the second organizer's as well: a browser that somebody left open sends nothing.
    # Whoever has no app says yes from her phone (OK 47): docs/decisions/0010.
    "console.approve_own_draft": _only(ORGANIZER, proof=True),
    "console.approve_or_release": _only(ORGANIZER, proof=True),
    "console.hold_broadcast": _only(ORGANIZER, STEWARD),
    "console.stop_for_good": _only(ORGANIZER),
    "console.send_again": _only(ORGANIZER, proof=True),
    "console.polls": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.poll": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.poll_turnout": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.new_vote": _only(BROADCASTER, ORGANIZER),
    "console.close_vote": _only(ORGANIZER, proof=True),
    "console.actions": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.action": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.headcount": _only(VIEWER, BROADCASTER, ORGANIZER),
    "console.rsvps": _only(ORGANIZER),
    "console.care": _only(SUPPORTER),
    "console.answer_peer": _only(SUPPORTER),
    "console.ask_how_they_are": _only(SUPPORTER),
    "console.members": _only(ORGANIZER, ADMIN),
    "console.find_members": _only(ORGANIZER, ADMIN),
    "console.save_group": _only(ORGANIZER, ADMIN),
    "console.rename_group": _only(ORGANIZER, ADMIN),
    "console.dissolve_group": _only(ORGANIZER, ADMIN),
    "console.member": _only(ORGANIZER, ADMIN),
    "console.set_member": _only(ORGANIZER, ADMIN),
    "console.set_member_groups": _only(ORGANIZER, ADMIN),
    "console.remove_member": _only(ORGANIZER, ADMIN, proof=True),
    "console.set_member_roles": _only(ORGANIZER, ADMIN, proof=True),
    "console.move_number": _only(ORGANIZER, ADMIN, proof=True),
    "console.cancel_number": _only(ORGANIZER, ADMIN),
    "console.cancel_my_number": LOGGED_IN,
    "console.imports": _only(ORGANIZER, ADMIN),
    "console.preview_import": _only(ORGANIZER, ADMIN),
    "console.do_import": _only(ORGANIZER, ADMIN),
    "console.undo_members": _only(ORGANIZER, ADMIN, proof=True),
    "console.exports": _only(ORGANIZER, ADMIN),
    "console.export_members": _only(ORGANIZER, ADMIN, proof=True),
    "console.poster": EVERY_ROLE,
    "console.settings": _only(ORGANIZER, ADMIN),
    "console.set_words": _only(ORGANIZER, ADMIN),
    "console.set_join_word": _only(ORGANIZER, ADMIN, proof=True),
    "console.set_hours": _only(ORGANIZER, ADMIN, proof=True),
    "console.set_line": _only(ORGANIZER, ADMIN, proof=True),
    "console.set_text_price": _only(ORGANIZER, ADMIN, proof=True),
    "console.bring_templates": _only(ORGANIZER, ADMIN, proof=True),
    "console.set_monthly_cap": _only(ORGANIZER, ADMIN, proof=True),
    "console.flows": EVERY_ROLE,
    "console.flow": EVERY_ROLE,
    "console.audit": _only(ORGANIZER, STEWARD, ADMIN),
}
