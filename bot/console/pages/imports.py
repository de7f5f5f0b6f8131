"""Reading in a list of members: first what would happen, row by row; then doing it; then, if it was the wrong list, taking it back.

Between the two steps the file is kept nowhere: it goes out with the page, sealed under our own key and bound to this session, and comes
back with the button. Nobody can read it there, nothing has to be deleted, and any web process can go on with it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import phonenumbers
import sqlalchemy as sa
from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from bot.console.blueprint import blueprint, page
from bot.console.forms import new_key, read_text
from bot.console.looks import hidden_names
from bot.console.views import deployment, now, place, refuse, say, show, viewer
from bot.console.words import mark
from bot.delivery.prices import find_country
from bot.members import NumberRefused
from bot.members.enrolment import long_transaction
from bot.members.imports import DETACHED, KNOWN, LEFT, NEW, REFUSED, Foreseen, foresee, import_members, undo_import
from bot.members.roster import Remark, Roster, RosterRefused, read_roster
from bot.members.search import index_new_names
from models import Collective, CollectiveLine, Line, MemberImport, Membership, SealBroken

# More than this is the command line's work: it shows how far it is, and no browser waits for it.
MOST_ROWS, LARGEST = 5_000, 1024 * 1024
# Of each kind of row, so many are shown; every refused one is.
SHOWN = 200
TICKET_LASTS = timedelta(minutes=20)
TICKET = "member_imports.ticket"
LONGEST_CONSENT = 300
PAGE = 30
# Names are indexed at once for so long (real seconds); what is left is the worker's.
INDEX_SECONDS = 20.0

OUTCOMES = {
    NEW: mark("becomes a member"),
    KNOWN: mark("is a member already; only blanks are filled"),
    LEFT: mark("left; only she can join again"),
    DETACHED: mark("said it is a wrong number; stays out"),
    REFUSED: mark("refused"),
}

# What the roster says of a row (bot/members/roster.py and membership.py), so that it can be said in the page's language.
REASONS = (
    mark("there is no phone number"),
    mark("this is not a phone number"),
    mark("a spreadsheet rounded this number (1.2E+11): format the column as text and enter it again"),
    mark("there is more than one number in the cell"),
    mark("a text message can not reach an extension"),
    mark("no country has this code"),
    mark("it is too short"),
    mark("it is too long"),
    mark("no number looks like this"),
    mark("nothing can be sent to this number"),
    mark("the phone number may not exist: its range is not known to be in use"),
    mark("the phone number looks like a landline: texts may not arrive"),
    mark("the phone number looks like a service number: texts may not arrive"),
    mark("it has more cells than row 1: put quotation marks around a cell that holds a comma"),
    mark("a cell goes over several lines: is a quotation mark missing?"),
    mark("it is longer than 60 characters"),
    mark("choose another name for the group"),
    mark("Chorus speaks en, es, hi and hi-Latn"),
    mark("write it as Asia/Kolkata or America/Chicago"),
    mark("a name is longer than 40 characters"),
    mark("it begins like a formula and is kept as plain text"),
    mark("the file is not UTF-8 and was read as Windows-1252: look whether the names are right"),
    mark("the file is empty: row 1 must name the columns, at least phone"),
    mark("this is a workbook, not a CSV file: in the spreadsheet choose Save as, CSV UTF-8"),
    mark("the file's letters can not be read: save it as CSV UTF-8"),
    mark("this is not a text file: save the list as CSV UTF-8"),
    mark("the file is not laid out as a CSV: save it as CSV UTF-8"),
    mark("row 1: there is no column named phone (row 1 must name the columns: phone, name, language, timezone, groups)"),
)
COLUMNS = {
    "phone": mark("number"), "name": mark("name"), "language": mark("language"), "timezone": mark("time zone"), "groups": mark("groups"),
}  # fmt: skip
_NUMBERED = (
    (re.compile(r"the same number as in row (?P<n>\d+): taken once"), mark("the same number as in row {n}: taken once")),
    (re.compile(r"column (?P<n>\d+) is not one of .* and is left out"), mark("column {n} is left out: its name says nothing to Chorus")),
    (
        re.compile(r"a quotation mark is opened and not closed, in or before row (?P<n>\d+)"),
        mark("a quotation mark is opened and not closed, in or before row {n}"),
    ),
    (re.compile(r"row 1: columns (?P<n>\d+) and (?P<m>\d+) both are .*"), mark("row 1: columns {n} and {m} have the same name")),
)


OTHER_NAME = "groups: choose another name for the group"
# The command line has an option for it, the page a field.
NO_COUNTRY = mark("it has no country code: begin it with + and the code, as +1 or +91, or choose the country above")


def say_reason(reason: str) -> str:
    """What the roster says of a row, in the page's language."""
    if reason == str(NumberRefused("no_country")):
        return say(NO_COUNTRY)
    if reason in REASONS:
        return say(reason)
    for pattern, text in _NUMBERED:
        numbered = pattern.fullmatch(reason)
        if numbered:
            return say(text, **numbered.groupdict())
    column, between, rest = reason.partition(": ")
    return f"{say(COLUMNS[column])}: {say_reason(rest)}" if between and column in COLUMNS else reason


@dataclass(frozen=True)
class Upload:
    """A file on its way from the preview to the button."""

    data: bytes
    how: str
    country: str | None
    key: str


def seal_upload(upload: Upload) -> str:
    """The file as something that only we can open, only for this session and collective, only for some minutes."""
    facts = {
        "session": viewer().session_id, "collective": place().collective_id, "until": (now() + TICKET_LASTS).timestamp(),
        "how": upload.how, "country": upload.country, "key": upload.key,
    }  # fmt: skip
    plain = json.dumps(facts).encode() + b"\0" + zlib.compress(upload.data)
    return base64.urlsafe_b64encode(deployment().store.keyring.seal(plain, TICKET)).decode()


def open_upload(ticket: str) -> Upload | None:
    """The file back; None when it is not of this session, or too old."""
    try:
        plain = deployment().store.keyring.open(base64.urlsafe_b64decode(ticket), TICKET)
    except (SealBroken, binascii.Error, ValueError):
        return None
    head, _, packed = plain.partition(b"\0")
    facts: dict[str, Any] = json.loads(head)
    mine = facts["session"] == viewer().session_id and facts["collective"] == place().collective_id
    if not mine or facts["until"] <= now().timestamp():
        return None
    return Upload(zlib.decompress(packed), facts["how"], facts["country"], facts["key"])


@blueprint.url_value_preprocessor
def take_a_file(endpoint: str | None, _values: dict[str, object] | None) -> None:
    """These two forms may be larger than a webhook."""
    if endpoint in ("console.preview_import", "console.do_import"):
        # Sealed and written in letters, a file of LARGEST bytes is larger still.
        request.max_content_length = request.max_form_memory_size = 2 * LARGEST


@blueprint.errorhandler(RequestEntityTooLarge)
def tell_too_large(_error: RequestEntityTooLarge) -> ResponseReturnValue:
    if request.endpoint in ("console.preview_import", "console.do_import"):
        what_to_do = say("Nothing was done. A list of members may be up to 1 MB here; flask members import takes larger ones.")
    else:
        what_to_do = say("Nothing was done. Go back: what you wrote is still there. Shorten it, and send it once more.")
    return refuse(say("This is too large."), what_to_do, 413)


@page("/<word>/members/import")
def imports() -> ResponseReturnValue:
    """The form, and what was read in before."""
    return _show_form()


def _show_form(trouble: str | None = None, status: int = 200) -> ResponseReturnValue:
    with deployment().store.read() as session:
        done = session.execute(
            sa.select(MemberImport, Membership.name)
            .outerjoin(Membership, Membership.id == MemberImport.membership_id)
            .where(MemberImport.collective_id == place().collective_id)
            .order_by(MemberImport.id.desc())
            .limit(PAGE)
        ).all()
        first = session.scalar(
            sa.select(Line.country)
            .join(CollectiveLine, CollectiveLine.line_id == Line.id)
            .where(CollectiveLine.collective_id == place().collective_id)
            .order_by(CollectiveLine.position)
            .limit(1)
        )
    return show(
        "imports.html", status, done=done, trouble=trouble, country=first, most=MOST_ROWS, longest=LONGEST_CONSENT,
        countries=sorted(phonenumbers.SUPPORTED_REGIONS), how=read_text(request, "how", LONGEST_CONSENT),
        finished=request.args.get("finished"), added=request.args.get("added"),
    )  # fmt: skip


@page("/<word>/members/import/preview", methods=("POST",))
def preview_import() -> ResponseReturnValue:
    """Row by row, what will happen. Nothing is written."""
    how = " ".join(read_text(request, "how", LONGEST_CONSENT).split())
    country = find_country(request.form.get("country", "")) if request.form.get("country") else None
    file = request.files.get("file")
    data = file.read(LARGEST + 1) if file is not None else b""
    if not any(sign.isalpha() for sign in how):
        return _show_form(say("Say how and when these people agreed to get texts. Without it nobody is taken in."), 400)
    if not data:
        return _show_form(say("Choose a file."), 400)
    if len(data) > LARGEST:
        return _show_form(say("The file is larger than 1 MB. Split it, or use flask members import."), 400)
    try:
        roster = _read_file(data, country)
    except RosterRefused as refused:
        return _show_form(say_reason(str(refused)), 400)
    if len(roster.rows) + len(roster.errors) > MOST_ROWS:
        return _show_form(say("There are more than {n} rows. Split the file, or use flask members import.", n=f"{MOST_ROWS:,}"), 400)
    _ = deployment().store.index_key
    rows = foresee(deployment().store, place().collective_id, roster)
    ticket = seal_upload(Upload(data, how, country, new_key()))
    return show("import_preview.html", ticket=ticket, how=how, **_sort(rows, roster))


def _read_file(data: bytes, country: str | None) -> Roster:
    """The roster, without the rows that name a group which the viewer may not know of: a list is no way into care."""
    roster = read_roster(data, country)
    with deployment().store.read() as session:
        refused = hidden_names(session)
    roster.errors += [Remark(row.row, OTHER_NAME) for row in roster.rows if refused.intersection(row.groups)]
    roster.rows = [row for row in roster.rows if not refused.intersection(row.groups)]
    return roster


def _sort(rows: list[Foreseen], roster: Roster) -> dict[str, Any]:
    """The rows as they are shown: what needs a look first; of the others, the first ones."""
    counts = {outcome: sum(row.outcome == outcome for row in rows) for outcome in OUTCOMES}
    to_look_at = [row for row in rows if row.outcome != REFUSED and (row.remarks or row.stopped or row.outcome in (LEFT, DETACHED))]
    plain = [row for row in rows if row.outcome in (NEW, KNOWN) and not row.remarks and not row.stopped]
    of_file = [say_reason(remark.reason) for remark in roster.warnings if remark.row == 1]
    return {
        "counts": counts, "refused": [row for row in rows if row.outcome == REFUSED], "to_look_at": to_look_at[:SHOWN],
        "more_to_look_at": max(0, len(to_look_at) - SHOWN), "plain": plain[:SHOWN], "more_plain": max(0, len(plain) - SHOWN),
        "outcomes": OUTCOMES, "say_reason": say_reason, "of_file": of_file,
        "takes": sum(row.outcome != REFUSED for row in rows),
    }  # fmt: skip


@page("/<word>/members/import/do", methods=("POST",))
def do_import() -> ResponseReturnValue:
    """What the preview showed, once, all of it or nothing."""
    upload = open_upload(request.form.get("ticket", ""))
    if upload is None:
        return _show_form(say("The list waited too long. Nothing was done; choose the file once more."), 400)
    roster = _read_file(upload.data, upload.country)
    if roster.errors and request.form.get("skip") != "yes":
        return _show_form(say("Some rows were refused, and you did not say to take the others. Nothing was done."), 400)
    this = deployment()
    _ = this.store.index_key
    with this.store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
    made = import_members(this.store, collective, roster.rows, how=upload.how, by=place().membership_id, key=upload.key)
    if made is not None:
        index_new_names(this, INDEX_SECONDS)
    return redirect(url_for("console.imports", finished="import", added=made[1] if made else None), 303)


@page("/<word>/members/import/<int:number>/undo", methods=("POST",))
def undo_members(number: int) -> ResponseReturnValue:
    """Take an import back: whoever it added, never wrote since and has no role goes, with her number."""
    removed = None
    with long_transaction(deployment().store) as session:
        done = session.get(MemberImport, number, with_for_update=True)
        if done is None or done.collective_id != place().collective_id:
            return refuse(say("There is no such import."), say("Go back to the members."), 404)
        if done.undone_at is None:
            removed = undo_import(session, now(), done, by=place().membership_id)
    return redirect(url_for("console.imports", finished="undo", added=removed), 303)
