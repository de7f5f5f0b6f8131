"""The second step before whatever sends, exports or changes roles: a code of her app, good for some minutes.

The form that was about to act comes back with all its fields in it and one more for the code, so nothing she wrote is lost.
"""

from __future__ import annotations

from flask import g, request
from flask.typing import ResponseReturnValue

from bot.console.sessions import prove
from bot.console.views import deployment, now, show
from bot.delivery.second_factor import check_factor
from models import Store

FIELD = "proof"


def ask_for_proof() -> ResponseReturnValue | None:
    """None when a code was given a moment ago, or the form brought a right one (the act goes on); else the page that asks for it."""
    # Each collective asks for its own app: whoever got hold of her app elsewhere acts elsewhere only.
    membership_id = g.place.membership_id if g.place is not None else g.viewer.places[0].membership_id if g.viewer.places else 0
    if g.viewer.has_proof(now(), membership_id):
        return None
    given = request.form.get(FIELD, "")
    store: Store = deployment().store
    with store.write() as session:
        verdict = check_factor(session, now(), membership_id, given)
        if verdict == "right":
            prove(session, now(), g.viewer.session_id, membership_id)
            return None
    kept = [(name, value) for name, value in request.form.items(multi=True) if name not in (FIELD, "csrf")]
    # Another organizer's yes has a second way: a text from her own phone, which is a factor as well.
    number = (request.view_args or {}).get("number") if request.endpoint == "console.approve_or_release" else None
    return show("proof.html", 403 if given else 200, verdict=verdict, kept=kept, action=request.full_path.rstrip("?"), number=number)
