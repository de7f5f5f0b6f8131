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
    """None when the form brought a right code (the act goes on); else the page that asks for it."""
    given = request.form.get(FIELD, "")
    store: Store = deployment().store
    membership_id = g.place.membership_id if g.place is not None else g.viewer.places[0].membership_id if g.viewer.places else 0
    with store.write() as session:
        verdict = check_factor(session, now(), membership_id, given)
        if verdict == "right":
            prove(session, now(), g.viewer.session_id)
            return None
    kept = [(name, value) for name, value in request.form.items(multi=True) if name not in (FIELD, "csrf")]
    # Another organizer's yes has a second way: a text from her own phone, which is a factor as well.
    number = (request.view_args or {}).get("number") if request.endpoint == "console.approve_or_release" else None
    return show("proof.html", 403 if given else 200, verdict=verdict, kept=kept, action=request.full_path.rstrip("?"), number=number)
