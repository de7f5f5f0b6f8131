"""The members file: a CSV as organizers keep it, read forgivingly and refused clearly; and written so that it can be read again.

Row numbers are those a spreadsheet shows: the header is row 1. Messages name the row and the reason, never what stands in the cell.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from zoneinfo import available_timezones

from bot.languages import match_language
from bot.members import NumberRefused, doubts, parse_number

COLUMNS = ("phone", "name", "language", "timezone", "groups")
_HEADERS = {
    "phone": "phone phones number mobile cell telephone tel phonenumber mobilenumber cellphone phoneno mobileno whatsapp "
    "telefono teléfono celular movil móvil numero número फोन फ़ोन मोबाइल नंबर",
    "name": "name fullname nombre naam नाम",
    "language": "language lang languages idioma lengua bhasha भाषा",
    "timezone": "timezone zone tz zonahoraria समयक्षेत्र",
    "groups": "groups group grupo grupos tags समूह",
}
_COLUMN_OF = {word: column for column, line in _HEADERS.items() for word in line.split()}
LONGEST_NAME, LONGEST_GROUP = 60, 40
_SEPARATORS = re.compile(r"[;,|/\n]")
# Letters to Unicode, nothing to the eye: two groups that look the same must not be two.
_UNSEEN_LETTERS = "\u115f\u1160\u3164\uffa0"
# A spreadsheet runs what begins like this; behind an apostrophe it is text.
_BEGINS = r"[\s　]*[=+\-@＝＋－＠\t\r\0]"
_FORMULA = re.compile(_BEGINS)
_BEFORE_FORMULA, _OUR_APOSTROPHE = re.compile(rf"(?:(?<=;)|\A)(?={_BEGINS})"), re.compile(rf"(?:(?<=;)|\A)'(?={_BEGINS})")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")


class RosterRefused(ValueError):
    """The whole file can not be read; the message says why and what to do."""


@dataclass(frozen=True)
class Remark:
    """What is to be said about one row."""

    row: int
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True)
class RosterRow:
    """One member as the file has her; ``number`` is E.164, ``groups`` are case-folded."""

    row: int
    number: str
    name: str | None = None
    language: str | None = None
    timezone: str | None = None
    groups: tuple[str, ...] = ()


@dataclass
class Roster:
    """What a file holds: members (each number once), rows that can not be taken, rows to look at."""

    rows: list[RosterRow] = field(default_factory=list)
    errors: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    repeated: int = 0
    encoding: str = "UTF-8"
    delimiter: str = ","


def read_roster(data: bytes, country: str | None = None, progress: Callable[[int, int], None] | None = None) -> Roster:
    """Read a members file. ``country``: two letters, for numbers in national format. ``progress(done, of)`` is called now and then.

    Takes UTF-8 (with Excel's mark or without), UTF-16 and Windows-1252; commas, semicolons or tabs. Raises RosterRefused.
    """
    text, encoding = _decode(data)
    records, delimiter = _split(text)
    if not records:
        raise RosterRefused("the file is empty: row 1 must name the columns, at least phone")
    roster = Roster(encoding=encoding, delimiter=delimiter)
    if encoding == "Windows-1252":
        roster.warnings.append(Remark(1, "the file is not UTF-8 and was read as Windows-1252: look whether the names are right"))
    columns = _find_columns(records[0], roster)
    seen: dict[str, int] = {}
    for place, cells in enumerate(records[1:]):
        if progress and place % 500 == 0:
            progress(place, len(records) - 1)
        if any(cell.strip() for cell in cells):
            _take(roster, seen, _read_row(place + 2, cells, len(records[0]), columns, country, roster))
    if progress:
        progress(len(records) - 1, len(records) - 1)
    return roster


def _decode(data: bytes) -> tuple[str, str]:
    if data.startswith(b"PK"):
        raise RosterRefused("this is a workbook, not a CSV file: in the spreadsheet choose Save as, CSV UTF-8")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding, name = "utf-16", "UTF-16"
    else:
        encoding, name = "utf-8-sig", "UTF-8"
    try:
        return data.decode(encoding), name
    except UnicodeDecodeError:
        pass  # older spreadsheets on Windows write their own alphabet
    try:
        return data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        raise RosterRefused("the file's letters can not be read: save it as CSV UTF-8") from None


def _split(text: str) -> tuple[list[list[str]], str]:
    """The records of the file, and what stands between the cells."""
    if "\0" in text:
        raise RosterRefused("this is not a text file: save the list as CSV UTF-8")
    if text.count('"') % 2:
        raise RosterRefused(f"a quotation mark is opened and not closed, in or before row {_last_quoted_row(text)}")
    told = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # a line for Excel alone, which does not show it
    if told:
        text = text[told.end() :]
    first_line = re.sub(r'"[^"]*"', "", text.partition("\n")[0])
    delimiter = told.group(1) if told else max(",;\t", key=first_line.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)), delimiter
    except csv.Error:
        raise RosterRefused("the file is not laid out as a CSV: save it as CSV UTF-8") from None


def _last_quoted_row(text: str) -> int:
    return text[: text.rfind('"')].count("\n") + 1


def _find_columns(header: Sequence[str], roster: Roster) -> dict[str, int]:
    columns: dict[str, int] = {}
    for place, title in enumerate(header):
        plain = re.sub(r"[\s_\-.:*]+", "", title).casefold()
        column = _COLUMN_OF.get(plain)
        if column is None:
            if plain:
                roster.warnings.append(Remark(1, f"column {place + 1} is not one of {', '.join(COLUMNS)} and is left out"))
        elif column in columns:
            raise RosterRefused(f"row 1: columns {columns[column] + 1} and {place + 1} both are the {column}: rename one of them")
        else:
            columns[column] = place
    if "phone" not in columns:
        raise RosterRefused("row 1: there is no column named phone (row 1 must name the columns: phone, name, language, timezone, groups)")
    return columns


def _read_row(row: int, cells: list[str], width: int, columns: dict[str, int], country: str | None, roster: Roster) -> RosterRow | None:
    """The member in this row; None after the reasons against it have been noted in ``roster.errors``."""
    before = len(roster.errors)

    def cell(column: str) -> str:
        place = columns.get(column)
        return _clean(cells[place]) if place is not None and place < len(cells) else ""

    def refuse(reason: str) -> None:
        roster.errors.append(Remark(row, reason))

    if any(extra.strip() for extra in cells[width:]):
        refuse("it has more cells than row 1: put quotation marks around a cell that holds a comma")
    number = ""
    try:
        number = parse_number(cell("phone"), country)
    except NumberRefused as refused:
        refuse(f"phone: {refused}")
    if any("\n" in cells[place].strip() for place in columns.values() if place < len(cells)):
        refuse("a cell goes over several lines: is a quotation mark missing?")
    name = cell("name")
    if len(name) > LONGEST_NAME:
        refuse(f"name: it is longer than {LONGEST_NAME} characters")
    language = match_language(cell("language")) if cell("language") else None
    if cell("language") and language is None:
        refuse("language: Chorus speaks en, es, hi and hi-Latn")
    timezone = match_timezone(cell("timezone")) if cell("timezone") else None
    if cell("timezone") and timezone is None:
        refuse("timezone: write it as Asia/Kolkata or America/Chicago")
    groups = tuple(dict.fromkeys(group for part in _SEPARATORS.split(cell("groups")) if (group := read_group_name(part))))
    if any(len(group) > LONGEST_GROUP for group in groups):
        refuse(f"groups: a name is longer than {LONGEST_GROUP} characters")
    if len(roster.errors) > before:
        return None
    if doubt := doubts(number):
        roster.warnings.append(Remark(row, doubt))
    if _FORMULA.match(name):
        roster.warnings.append(Remark(row, "name: it begins like a formula and is kept as plain text"))
    return RosterRow(row, number, name or None, language, timezone, groups)


def _take(roster: Roster, seen: dict[str, int], row: RosterRow | None) -> None:
    """Put a row among the members; a number that came before adds only what that row left blank."""
    if row is None:
        return
    first = seen.setdefault(row.number, len(roster.rows))
    if first == len(roster.rows):
        roster.rows.append(row)
        return
    kept = roster.rows[first]
    roster.repeated += 1
    roster.warnings.append(Remark(row.row, f"the same number as in row {kept.row}: taken once"))
    roster.rows[first] = replace(
        kept,
        name=kept.name or row.name,
        language=kept.language or row.language,
        timezone=kept.timezone or row.timezone,
        groups=tuple(dict.fromkeys(kept.groups + row.groups)),
    )


def _clean(cell: str) -> str:
    """A cell without what nobody sees, and without the apostrophe that our own export puts before a formula."""
    cell = unicodedata.normalize("NFC", cell)
    cell = "".join(char for char in cell if char in "\n\t\u200c\u200d" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co"))
    cell = cell.translate(dict.fromkeys(map(ord, _UNSEEN_LETTERS)))
    cell = " ".join(cell.split())
    return _OUR_APOSTROPHE.sub("", cell)


def read_group_name(text: str) -> str:
    """A group's name as it is kept: case-folded, in one line, without what nobody sees and what separates groups in a list; "" for none."""
    return " ".join(_SEPARATORS.sub(" ", _clean(text)).split()).casefold()


@cache
def _zones() -> dict[str, str]:
    return {zone.casefold(): zone for zone in sorted(available_timezones()) if "/" in zone or zone == "UTC"}


def match_timezone(text: str) -> str | None:
    """The zone's own spelling of "asia/kolkata"; None when there is no such zone."""
    return _zones().get(text.strip().replace(" ", "_").casefold())


def write_roster(rows: Iterable[RosterRow]) -> str:
    """The members as CSV, in the columns that ``read_roster`` takes.

    Cells that a spreadsheet would run are put behind an apostrophe. A number in E.164 is left as it is: plus and digits only is a
    number to a spreadsheet, never a command, and it must be read again here and by other programs.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        phone = row.number if _E164.match(row.number) else make_inert(row.number)
        writer.writerow(
            [phone, *(make_inert(cell) for cell in (row.name or "", row.language or "", row.timezone or "", ";".join(row.groups)))]
        )
    return out.getvalue()


def make_inert(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula (ASVS 1.2.10), nor what stands behind a semicolon in it: where lists are
    separated by semicolons, a new cell begins there."""
    return _BEFORE_FORMULA.sub("'", cell)
