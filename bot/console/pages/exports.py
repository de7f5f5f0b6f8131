"""Taking the list of members out: with a reason, which is kept, and with a code of the app. No care data is ever in it."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Response, request
from flask.typing import ResponseReturnValue

from bot.console.blueprint import page
from bot.console.forms import read_text
from bot.console.pages.members import trace
from bot.console.views import deployment, now, place, say, show
from bot.members.enrolment import list_members
from bot.members.roster import write_roster
from bot.members.search import care_groups
from models import MemberExport, Membership

LONGEST_REASON = 300
SHOWN = 30
EXCEL_MARK = b"\xef\xbb\xbf"


@page("/<word>/members/export")
def exports() -> ResponseReturnValue:
    """The form, and who took the list out before, and why."""
    return _show_form()


def _show_form(trouble: str | None = None, status: int = 200) -> ResponseReturnValue:
    with deployment().store.read() as session:
        done = session.execute(
            sa.select(MemberExport, Membership.name)
            .outerjoin(Membership, Membership.id == MemberExport.membership_id)
            .where(MemberExport.collective_id == place().collective_id)
            .order_by(MemberExport.id.desc())
            .limit(SHOWN)
        ).all()
    return show("exports.html", status, done=done, trouble=trouble, longest=LONGEST_REASON)


@page("/<word>/members/export/file", methods=("POST",))
def export_members() -> ResponseReturnValue:
    """The active members as CSV, in the columns that import takes. That it was taken out is written down before the first row is read."""
    reason = " ".join(read_text(request, "reason", LONGEST_REASON).split())
    if not any(sign.isalpha() for sign in reason):
        return _show_form(say("Say what you need the list for. The others will read it here."), 400)
    store, collective_id = deployment().store, place().collective_id
    with store.write() as session:
        taken = MemberExport(collective_id=collective_id, membership_id=place().membership_id, reason=reason, made_at=now())
        session.add(taken)
        session.flush()
        session.add(trace("members exported", f"export {taken.id}"))
        export_id = taken.id
    with store.read() as session:
        # In the file for nobody, supporters included: a file goes from hand to hand.
        rows = list(list_members(session, collective_id, without=care_groups(session, collective_id)))
    with store.write() as session:
        session.execute(sa.update(MemberExport).where(MemberExport.id == export_id).values(rows=len(rows)))
    mark = EXCEL_MARK if request.form.get("excel") == "yes" else b""
    answer = Response(mark + write_roster(rows).encode(), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="members-{now():%Y-%m-%d}.csv"'
    return answer
