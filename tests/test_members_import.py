"""A members file as organizers keep it: read forgivingly, refused clearly, imported whole or not at all, exported to be read again."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from bot.deployment import Deployment
from bot.members import MemberRefused, NumberRefused, add_member, enrolment, parse_number
from bot.members.roster import Remark, RosterRefused, RosterRow, make_inert, read_roster, write_roster
from models import Collective, Consent, Group, GroupMember, Membership, Outbound, Person, Phone, PhoneLine
from tests.cli import Run, commands_of
from tests.world import World

CONSENT = "signed the paper list at the meeting of 3 April"

# As a spreadsheet in Spain writes it: its mark, semicolons, Windows line ends, numbers as people type them.
AS_KEPT = (
    "\ufeffPhone Number;Name;Language;Time zone;Groups;Notes\r\n"
    "98123 45678;Asha;Hindi;Asia/Kolkata;drivers|cooks;came by bus\r\n"
    "098123-45679;सुनीता;hi;;;\r\n"
    "+91 98123 45680;Lucía;Español;;cooks;\r\n"
    ";;;;;\r\n"
    "(+1) 202-555-0143;Sam;EN;america/chicago;;\r\n"
    "022 2345 6789;The office;;;;a landline\r\n"
    "00919812345681;Kavita;hi-latn;;;\r\n"
    "9812345678;Asha again;;;marshals;\r\n"
)


@pytest.fixture
def run(world: World) -> Run:
    world.collective(timezone="Asia/Kolkata")
    return commands_of(world.deployment)


@pytest.fixture
def load(run: Run, tmp_path: Path) -> Callable[..., Result]:
    """``load(text, "--country", "IN")`` imports a file with these contents into SANGHA."""

    def load(contents: str | bytes, *options: str) -> Result:
        file = tmp_path / "members.csv"
        file.write_bytes(contents.encode() if isinstance(contents, str) else contents)
        return run("members", "import", str(file), "--collective", "sangha", "--consent", CONSENT, *options)

    return load


def count(deployment: Deployment, model: type) -> int:
    with deployment.store.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_a_file_as_organizers_keep_it(load: Callable[..., Result], world: World) -> None:
    result = load(AS_KEPT, "--country", "in")
    assert result.exit_code == 0, result.output
    assert "6 new members" in result.output and "semicolons" in result.output
    assert "row 7: the phone number looks like a landline" in result.output
    assert "row 9: the same number as in row 2" in result.output
    with world.store.read() as session:
        about = sa.select(Phone.number, Membership.name, Person.language, Person.timezone)
        joined = about.join(Person, Person.phone_id == Phone.id).join(Membership)
        found = {row.number: tuple(row)[1:] for row in session.execute(joined)}
        assert found == {
            "+919812345678": ("Asha", "hi", "Asia/Kolkata"),
            "+919812345679": ("सुनीता", "hi", None),
            "+919812345680": ("Lucía", "es", None),
            "+12025550143": ("Sam", "en", "America/Chicago"),
            "+912223456789": ("The office", None, None),
            "+919812345681": ("Kavita", "hi-Latn", None),
        }
        assert set(session.scalars(sa.select(Group.name))) == {"drivers", "cooks", "marshals"}
        assert session.scalar(sa.select(sa.func.count()).select_from(GroupMember)) == 4
        consents = session.scalars(sa.select(Consent)).all()
        assert {(consent.kind, consent.how) for consent in consents} == {("import", CONSENT)} and len(consents) == 6


def test_rubbish_rows_refuse_the_file_and_each_is_named(load: Callable[..., Result], world: World) -> None:
    rubbish = [
        "ask Maria", "", "12", "+1 555 000 1111 2222 3333", "1.23457E+11", "+999 1234567",
        "98123 45678 / 98123 45679", "+1 202 555 0143 x12",
    ]  # fmt: skip
    text = "phone,name,language,timezone\n9812345678,Asha,,\n" + "".join(f"{cell},Somebody,,\n" for cell in rubbish)
    text += "9812345680,X,klingon,\n9812345681,X,,Mars/Olympus\n9812345682,X,,,,too many cells\n"
    result = load(text, "--country", "IN")
    assert result.exit_code == 1
    for row in range(3, 14):
        assert f"row {row}:" in result.output, row
    assert "row 2:" not in result.output
    assert "a spreadsheet rounded" in result.output and "more than one number" in result.output and "extension" in result.output
    assert "Nothing was imported: 11 rows refused" in result.output
    assert all(cell not in result.output for cell in rubbish if len(cell) > 2), "what stands in a cell is not said again"
    assert count(world.deployment, Membership) == 0 == count(world.deployment, Phone)


def test_the_rest_is_taken_when_asked(load: Callable[..., Result], world: World) -> None:
    result = load("phone\n9812345678\nrubbish\n9812345679\n", "--country", "IN", "--skip-bad-rows")
    assert result.exit_code == 0 and "row 3:" in result.output and "2 new members" in result.output and "1 row left out" in result.output
    assert count(world.deployment, Membership) == 2


def test_nothing_is_half_imported(load: Callable[..., Result], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrolment, "CHUNK", 2)
    whole, calls = enrolment._add_memberships, []

    def fail_late(*arguments: object) -> int:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the machine stops")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(enrolment, "_add_memberships", fail_late)
    with pytest.raises(RuntimeError):
        load("phone\n" + "".join(f"981234567{n}\n" for n in range(8)), "--country", "IN")
    for model in (Membership, Person, Phone, Consent, Group):
        assert count(world.deployment, model) == 0, model


def test_importing_again_changes_nothing_and_fills_blanks(load: Callable[..., Result], world: World) -> None:
    load("phone,name\n+919812345678,\n+919812345679,Meena\n")
    result = load(
        "phone,name,language,groups\n+919812345678,Asha,hi,drivers\n+919812345679,Somebody else,en,drivers\n+919812345680,Noor,,\n"
    )
    assert "1 new member" in result.output and "2 known already" in result.output
    with world.store.read() as session:
        people = session.execute(sa.select(Membership.name, Person.language).join(Person).order_by(Person.id)).all()
        assert [tuple(row) for row in people] == [("Asha", "hi"), ("Meena", "en"), ("Noor", None)]
        assert session.scalar(sa.select(sa.func.count()).select_from(Consent)) == 3
        assert session.scalar(sa.select(sa.func.count()).select_from(GroupMember)) == 2


def test_who_left_stays_away_and_who_stopped_stays_stopped(load: Callable[..., Result], world: World) -> None:
    load("phone\n+919812345678\n+919812345679\n+919812345680\n")
    with world.store.write() as session:
        members = session.scalars(sa.select(Membership).order_by(Membership.id)).all()
        members[0].state, members[0].left_at = "left", world.clock.now()
        phones = session.scalars(sa.select(Phone).order_by(Phone.id)).all()
        session.add(PhoneLine(phone_id=phones[1].id, line_id=1, opted_out_at=world.clock.now(), opted_out_by="word"))
        phones[2].detached_at = world.clock.now()
    result = load("phone,groups\n+919812345678,a\n+919812345679,a\n+919812345680,a\n")
    assert result.exit_code == 0
    assert "left the collective" in result.output and "row 2" in result.output
    assert "1 person has texted STOP" in result.output
    assert "wrong number: row 4" in result.output
    with world.store.read() as session:
        assert session.scalars(sa.select(Membership.state).order_by(Membership.id)).all() == ["left", "active", "active"]
        assert session.scalar(sa.select(sa.func.count()).select_from(GroupMember)) == 1
        assert session.scalars(sa.select(PhoneLine.opted_out_at)).one() is not None


def test_imported_members_get_ordinary_broadcasts_at_once(load: Callable[..., Result], run: Run, world: World) -> None:
    load("phone\n+919812345678\n+919812345679\n")
    assert run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--yes").exit_code == 0
    assert count(world.deployment, Outbound) == 2
    with world.store.read() as session:
        assert "check_ins" not in set(session.scalars(sa.select(Consent.kind))), "care needs a yes of one's own"


def test_consent_must_be_said(load: Callable[..., Result], run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("phone\n+919812345678\n")
    assert run("members", "import", str(tmp_path / "m.csv"), "--collective", "SANGHA").exit_code == 2
    assert run("members", "import", str(tmp_path / "m.csv"), "--collective", "SANGHA", "--consent", " - ").exit_code == 2
    assert run("members", "import", str(tmp_path / "m.csv"), "--collective", "NOBODY", "--consent", CONSENT).exit_code == 1
    assert run("members", "import", str(tmp_path / "none.csv"), "--collective", "SANGHA", "--consent", CONSENT).exit_code == 2
    assert load("phone\n9812345678\n", "--country", "XX").exit_code == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04rubbish", "a workbook, not a CSV"),
        (b"name,language\nAsha,hi\n", "no column named phone"),
        (b"+919812345678,Asha\n+919812345679,Meena\n", "no column named phone"),
        (b"phone,mobile\n1,2\n", "both are the phone"),
        (b'phone,name\n+919812345678,"Asha\n+919812345679,Meena\n', "quotation mark is opened and not closed, in or before row 2"),
        (b"phone\n\x81\x8d\n", "letters can not be read"),
        (b"phone\0name\n", "not a text file"),
        (b"phone\n", "nobody in the file"),
        (b"phone,name\n,\n,\n", "nobody in the file"),
    ],
)
def test_a_file_that_is_none(load: Callable[..., Result], data: bytes, reason: str) -> None:
    result = load(data)
    assert result.exit_code == 1 and reason in result.output, result.output


def test_older_spreadsheets_on_windows() -> None:
    roster = read_roster("phone;name\r\n+34612345678;Begoña Núñez\r\n".encode("cp1252"))
    assert roster.encoding == "Windows-1252" and roster.rows[0].name == "Begoña Núñez"
    assert roster.warnings[0].row == 1


def test_unicode_text_and_the_line_for_excel() -> None:
    assert read_roster("phone\tname\n+919812345678\tसुनीता\n".encode("utf-16")).rows[0].name == "सुनीता"
    assert read_roster(b"sep=;\r\nphone;name\r\nrubbish;x\r\n").errors[0].row == 2


def test_a_quoted_cell_over_two_lines_is_one_row() -> None:
    roster = read_roster(b'phone,notes,name\n+919812345678,"one\ntwo",Asha\nrubbish,,x\n')
    assert roster.rows[0].name == "Asha" and [error.row for error in roster.errors] == [3]
    assert "several lines" in read_roster(b'phone,name\n+919812345678,"Asha\nMeena"\n').errors[0].reason


def test_a_formula_stays_text(load: Callable[..., Result], run: Run, world: World) -> None:
    names = ['=HYPERLINK("http://x","y")', "+SUM(A1)", "-2+3", "@import", "＝1+1"]
    out = io.StringIO()
    csv.writer(out).writerows([["phone", "name"], *([f"+91981234567{n}", name] for n, name in enumerate(names))])
    assert load(out.getvalue()).exit_code == 0
    exported = run("members", "export", "--collective", "SANGHA")
    rows = list(csv.DictReader(io.StringIO(exported.output)))
    assert [row["name"] for row in rows] == ["'" + name for name in ['=HYPERLINK("http://x","y")', "+SUM(A1)", "-2+3", "@import", "＝1+1"]]
    assert [row["phone"] for row in rows] == [f"+91981234567{n}" for n in range(5)]


def test_an_export_can_be_imported_again(load: Callable[..., Result], run: Run, world: World) -> None:
    load(AS_KEPT, "--country", "IN")
    world.collective("UNITY")
    exported = run("members", "export", "--collective", "SANGHA").stdout_bytes.decode()
    excel = run("members", "export", "--collective", "SANGHA", "--excel").stdout_bytes
    assert excel.startswith(b"\xef\xbb\xbf") and excel[3:].decode() == exported
    first = read_roster(exported.encode())
    assert not first.errors and write_roster(first.rows) == exported
    assert len(first.rows) == 6 and first.rows[0].groups == ("cooks", "drivers", "marshals")
    with world.store.write() as session:
        session.execute(sa.delete(Membership))
    assert load(exported).exit_code == 0
    assert run("members", "export", "--collective", "SANGHA").stdout_bytes.decode() == exported


PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp")), min_size=1, max_size=20)


@given(name=PLAIN, groups=st.lists(st.sampled_from(["drivers", "cooks", "marshals"]), unique=True))
def test_what_is_written_is_read_again(name: str, groups: list[str]) -> None:
    row = RosterRow(2, "+919812345678", unicodedata.normalize("NFC", name), "hi", "Asia/Kolkata", tuple(groups))
    again = read_roster(write_roster([row]).encode())
    if name.startswith("'") or ";'" in name:
        return  # an apostrophe before a formula is ours
    assert again.rows == [row] and not again.errors


@given(st.text())
def test_an_inert_cell_is_never_a_formula(cell: str) -> None:
    # Where lists are separated by semicolons, each part is a cell.
    for told in (part.lstrip(" \u3000") for part in make_inert(cell).split(";")):
        assert told[:1] not in tuple("=+-@\t\r\0＝＋－＠") or told == ""


def test_a_semicolon_in_a_name_begins_no_formula() -> None:
    row = RosterRow(2, "+919812345678", "x;=1+1; +2;y", groups=("cooks", "-night"))
    written = write_roster([row])
    assert "x;'=1+1;' +2;y" in written and "cooks;'-night" in written
    assert read_roster(written.encode()).rows[0].name == "x;=1+1; +2;y"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_roster(b"phone,name\n" + data, "IN")
    except RosterRefused as refused:
        assert str(refused)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_refused(text: str) -> None:
    try:
        number = parse_number(text, "IN")
    except NumberRefused as refused:
        assert str(refused) and (len(text.strip()) < 6 or text.strip() not in str(refused))
    else:
        assert number.startswith("+") and number[1:].isascii() and number[1:].isdigit() and len(number) <= 16


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("+1 (555) 000-1111", None, "+15550001111"),
        ("\u202a+91\u00a098123\u201145678\u202c", None, "+919812345678"),
        ("९८१२३४५६७८", "IN", "+919812345678"),
        ("tel:+34612345678", None, "+34612345678"),
        ('="+34612345678"', None, "+34612345678"),
        ("'+34612345678", None, "+34612345678"),
        ("919812345678.0", "IN", "+919812345678"),
        ("+44 (0)20 7946 0018", None, "+442079460018"),
        ("55 1234 5678", "MX", "+525512345678"),
        ("0034 612 345 678", None, "+34612345678"),
    ],
)
def test_numbers_as_people_write_them(text: str, country: str | None, number: str) -> None:
    assert parse_number(text, country) == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"), ("98123 45678", "no_country"), ("+1 555", "too_short"), ("+1 555 000 1111 22", "too_long"), ("9.18E+11", "rounded"),
        ("+12025550143, +12025550144", "two_numbers"), ("unknown", "not_a_number"), ("1-800-FLOWERS", "not_a_number"),
        ("+999 123456", "unknown_country"),
    ],
)  # fmt: skip
def test_numbers_that_are_none(text: str, reason: str) -> None:
    with pytest.raises(NumberRefused) as refused:
        parse_number(text)
    assert refused.value.reason == reason


def test_a_member_is_added_once_and_comes_back_only_herself(world: World) -> None:
    collective_id = world.collective()
    _ = world.store.index_key

    def add(kind: str) -> str:
        with world.store.write() as session:
            collective = session.get_one(Collective, collective_id)
            return add_member(session, world.store, collective=collective, number="+919812345678", how="told us", kind=kind).state

    assert add("import") == "active" == add("import")
    assert count(world.deployment, Consent) == 1 == count(world.deployment, Membership)
    with world.store.write() as session:
        session.execute(sa.update(Membership).values(state="left"))
    with pytest.raises(MemberRefused):
        add("import")
    assert add("join") == "active" and count(world.deployment, Consent) == 2


def test_remarks_read_as_sentences() -> None:
    assert str(Remark(7, "phone: it is too short")) == "row 7: phone: it is too short"
