"""The ``flask`` commands: what they do, what they refuse and with which exit code (0 done, 1 refused, 2 wrong usage)."""

from __future__ import annotations

import json
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import sqlalchemy as sa
from flask import Flask

from bot.commands import register
from bot.deployment import Deployment
from bot.settings import read_settings
from models import (
    Broadcast,
    Collective,
    CollectiveLine,
    Consent,
    Keyring,
    Line,
    Membership,
    Outbound,
    Phone,
    Role,
    SecondFactor,
    Store,
    Timer,
)
from models.messages import OUTBOUND_STATES
from tests.cli import Run, commands_of
from tests.world import World

CREATE = ("collective", "create", "Sangha", "--word", "SANGHA", "--line", "+15550001111", "--organizer", "+15550002222")


@pytest.fixture
def run(deployment: Deployment) -> Run:
    return commands_of(deployment)


@pytest.fixture
def sangha(world: World) -> int:
    """A collective of three: two read Hindi, one of them a driver."""
    collective = world.collective(timezone="Asia/Kolkata", name="Sangha")
    world.member(collective, "+15550004001", name="Maya")
    world.member(collective, "+15550004002", language="hi")
    world.member(collective, "+15550004003", language="hi")
    return collective


def rows(deployment: Deployment, model: type) -> list[object]:
    with deployment.store.read() as session:
        return list(session.scalars(sa.select(model)))


# --- collectives, lines, roles ------------------------------------------------------------------------------------------


def test_a_collective_is_made(run: Run, deployment: Deployment) -> None:
    service = "MG" + "0a" * 16
    result = run(
        *CREATE, "--line", "whatsapp:+15550003333", "--line", service, "--organizer", "+1 555 000 2223", "--timezone", "asia/kolkata",
        "--language", "Hindi", "--mps", "10", "--quiet", "22-7", "--about", "we meet",
    )  # fmt: skip
    assert result.exit_code == 0 and "JOIN SANGHA" in result.output, result.output
    with deployment.store.read() as session:
        made = session.scalars(sa.select(Collective)).one()
        assert (made.name, made.word, made.timezone, made.language) == ("Sangha", "sangha", "Asia/Kolkata", "hi")
        assert (made.quiet_from, made.quiet_until) == (22, 7)
        lines = session.scalars(sa.select(Line).join(CollectiveLine).order_by(CollectiveLine.position)).all()
        told = [(line.address, line.channel, line.mps, line.carrier_answers_stop, line.country) for line in lines]
        assert told == [
            ("+15550001111", "sms", 10.0, True, "US"),
            ("whatsapp:+15550003333", "whatsapp", 10.0, False, "US"),
            (service, "sms", 10.0, True, None),
        ]
        assert set(session.scalars(sa.select(Phone.number))) == {"+15550002222", "+15550002223"}
        assert session.scalars(sa.select(Role.role)).all() == ["organizer", "organizer"]
        assert session.scalars(sa.select(Membership.state)).all() == ["active", "active"], "organizers are members too"
        assert len(session.scalars(sa.select(Consent.how)).all()) == 2


def test_quiet_hours_are_21_to_8_unless_said(run: Run, deployment: Deployment) -> None:
    run(*CREATE)
    run("collective", "create", "Unity", "--word", "unity", "--line", "+15550001111", "--organizer", "+15550002222", "--quiet", "none")
    first, second = (made for made in rows(deployment, Collective))
    assert (first.quiet_from, first.quiet_until) == (21, 8)  # type: ignore[attr-defined]
    assert (second.quiet_from, second.quiet_until) == (None, None)  # type: ignore[attr-defined]
    assert len(rows(deployment, Line)) == 1, "a line is shared"
    assert len(rows(deployment, Phone)) == 1 and len(rows(deployment, Membership)) == 2


@pytest.mark.parametrize("word", ["STOP", "stopall", "Yes", "haan", "JOIN", "madad", "मदद", "Sangha", "SÁNGHA", "hindi", "si"])
def test_a_word_that_is_taken_is_refused(run: Run, deployment: Deployment, word: str) -> None:
    run(*CREATE)
    result = run("collective", "create", "Other", "--word", word, "--line", "+15550001112", "--organizer", "+15550002222")
    assert result.exit_code == 1, result.output
    assert len(rows(deployment, Collective)) == 1 and len(rows(deployment, Line)) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--word", "two words"), ("--word", "x"), ("--word", "12"), ("--word", "a" * 21), ("--line", "15550001111"), ("--line", "MG123"),
        ("--line", "sms:+15550001111"), ("--line", "+1"), ("--organizer", "5550002222"), ("--timezone", "Mars/Olympus"),
        ("--language", "klingon"), ("--mps", "0"), ("--mps", "-1"), ("--mps", "nan"), ("--mps", "inf"),
        ("--mps", "many"), ("--quiet", "21"),
        ("--quiet", "24-8"), ("--quiet", "8-8"), ("--quiet", "soon"), ("--about", "x" * 121),
    ],
)  # fmt: skip
def test_wrong_usage_of_create(run: Run, deployment: Deployment, option: str, value: str) -> None:
    result = run(*CREATE, option, value)
    assert result.exit_code == 2 and value not in ("", None), result.output
    assert not rows(deployment, Collective)


def test_what_is_known_of_a_line_is_changed(run: Run, deployment: Deployment) -> None:
    run(*CREATE)
    result = run("line", "set", "+15550001111", "--mps", "2.5", "--one-way", "--no-carrier-answers-stop")
    assert result.exit_code == 0 and "2.5 segments a second, one-way, Chorus answers STOP" in result.output
    line = rows(deployment, Line)[0]
    assert (line.mps, line.two_way, line.carrier_answers_stop) == (2.5, False, False)  # type: ignore[attr-defined]
    assert run("line", "set", "+15550001111").exit_code == 2
    assert run("line", "set", "+15550009999", "--mps", "1").exit_code == 1


def test_a_held_line_is_released(run: Run, deployment: Deployment) -> None:
    run(*CREATE)
    with deployment.store.write() as session:
        session.execute(sa.update(Line).values(held_until=deployment.clock.now() + timedelta(days=1), held_code=30034))
    assert run("line", "set", "+15550001111", "--release").exit_code == 0
    line = rows(deployment, Line)[0]
    assert line.held_until is None and line.held_code is None  # type: ignore[attr-defined]


def test_a_supporter_is_added_once(run: Run, deployment: Deployment) -> None:
    run(*CREATE)
    assert run("supporter", "add", "+1 555 000 2224", "--collective", "SANGHA", "--name", "Grace").output == "Now a supporter of Sangha.\n"
    assert run("supporter", "add", "+15550002224", "--collective", "sangha").output == "Already a supporter of Sangha.\n"
    assert run("organizer", "add", "+15550002224", "--collective", "sangha").output == "Now an organizer of Sangha.\n"
    assert run("supporter", "add", "+15550002224", "--collective", "NONE").exit_code == 1
    assert run("supporter", "add", "2224", "--collective", "SANGHA").exit_code == 2
    assert len(rows(deployment, Membership)) == 2 and len(rows(deployment, Role)) == 3


def test_an_organizers_code_can_be_scanned(run: Run, deployment: Deployment) -> None:
    run(*CREATE)
    shown = run("organizer", "totp", "+15550002222", "--collective", "SANGHA")
    assert shown.exit_code == 0 and "█" in shown.output
    address = urlsplit(shown.output.strip().splitlines()[-1])
    assert address.scheme == "otpauth" and "5550002222" not in shown.output
    secret = parse_qs(address.query)["secret"][0]
    factor = rows(deployment, SecondFactor)[0]
    assert factor.secret == secret and pyotp.TOTP(secret).now().isdigit()  # type: ignore[attr-defined]
    assert secret in run("organizer", "totp", "+15550002222", "--collective", "SANGHA").output, "shown again, not changed"
    for counts_from, shown in ((timedelta(hours=1), secret), (-timedelta(hours=1), "K" * 32)):
        with deployment.store.write() as session:
            moment = deployment.clock.now() + counts_from
            session.execute(sa.update(SecondFactor).values(next_secret="K" * 32, next_from=moment))
        assert shown in run("organizer", "totp", "+15550002222", "--collective", "SANGHA").output, "another app, when its day has come"
    assert secret not in run("organizer", "totp", "+15550002222", "--collective", "SANGHA", "--new").output
    assert len(rows(deployment, SecondFactor)) == 1
    run("supporter", "add", "+15550002224", "--collective", "SANGHA")
    assert run("organizer", "totp", "+15550002224", "--collective", "SANGHA").exit_code == 1
    assert run("organizer", "totp", "+15550002999", "--collective", "SANGHA").exit_code == 1


# --- broadcasts ---------------------------------------------------------------------------------------------------------


def test_a_preview_tells_and_sends_nothing(run: Run, sangha: int, deployment: Deployment) -> None:
    result = run("broadcast", "preview", "--collective", "SANGHA", "--text", "Rally at six", "--json")
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert (told["recipients"], told["encoding"], told["segments"], told["held"]) == (3, "GSM-7", 1, {})
    assert told["fallback"] == {"hi": 2}
    assert "3 people, 1 segment each at most (GSM-7)" in run("broadcast", "preview", "--collective", "SANGHA", "--text", "Rally").output
    assert not rows(deployment, Broadcast) and not rows(deployment, Outbound)
    assert rows(deployment, Collective)[0].next_number == 1, "a look costs no number"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "encoding", "segments"),
    [("रैली कल", "UCS-2", 1), ("Rally ✊ at six", "UCS-2", 1), ("€5 for the bus", "GSM-7", 1), ("₹5", "UCS-2", 1), ("x" * 200, "GSM-7", 2)],
)
def test_a_preview_counts_what_the_carrier_will(run: Run, sangha: int, text: str, encoding: str, segments: int) -> None:
    told = json.loads(run("broadcast", "preview", "--collective", "SANGHA", "--text", text, "--json").output)
    assert (told["encoding"], told["segments"]) == (encoding, segments)


def test_a_preview_in_quiet_hours_says_who_waits(run: Run, world: World, sangha: int, deployment: Deployment) -> None:
    with deployment.store.write() as session:
        session.execute(sa.update(Collective).values(quiet_from=10, quiet_until=20))  # it is 14:30 in Kolkata
    told = json.loads(run("broadcast", "preview", "--collective", "SANGHA", "--text", "Hello", "--json").output)
    assert told["held"] == {"quiet_hours": 3} and told["recipients"] == 3


def test_a_broadcast_is_planned_with_redis_down(run: Run, sangha: int, deployment: Deployment) -> None:
    result = run("broadcast", "send", "--collective", "SANGHA", "--text", "Rally at six", "--translation", "hi", "रैली छह बजे", "--yes")
    assert result.exit_code == 0, result.output
    broadcast_id = int(result.stdout.strip().splitlines()[-1])
    told = json.loads(run("broadcast", "status", str(broadcast_id), "--json").output)
    assert told["id"] == broadcast_id and told["total"] == 3 and told["resent"] == 0
    assert set(told["counts"]) == set(OUTBOUND_STATES) and told["counts"]["queued"] == 3 and told["counts"]["delivered"] == 0
    assert "3  queued" in run("broadcast", "status", str(broadcast_id)).output
    assert rows(deployment, Broadcast)[0].approved_by == "cli"  # type: ignore[attr-defined]


def test_a_broadcast_to_a_group(run: Run, world: World, sangha: int, deployment: Deployment) -> None:
    with deployment.store.write() as session:
        session.execute(sa.text(f"INSERT INTO groups (collective_id, name) VALUES ({sangha}, 'drivers'), ({sangha}, 'nobody')"))
        session.execute(
            sa.text("INSERT INTO group_members (group_id, membership_id) SELECT min(g.id), min(m.id) FROM groups g, memberships m")
        )
    assert run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--group", "Drivers", "--yes").exit_code == 0
    assert len(rows(deployment, Outbound)) == 1
    refused = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--group", "cooks", "--yes")
    assert refused.exit_code == 1 and "It has: drivers, nobody" in refused.output
    nobody = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--group", "nobody", "--yes")
    assert nobody.exit_code == 1 and "nobody would get it" in nobody.output
    assert len(rows(deployment, Broadcast)) == 1


@pytest.mark.parametrize(
    ("text", "reason"), [("", "no words"), ("   ", "no words"), ("x" * 1600, "over 10 segments"), ("ह" * 700, "over 10 segments")]
)
def test_a_broadcast_that_can_not_be_sent(run: Run, sangha: int, deployment: Deployment, text: str, reason: str) -> None:
    for act in (("send", "--yes"), ("preview",), ("preview", "--json")):
        result = run("broadcast", act[0], "--collective", "SANGHA", "--text", text, *act[1:])
        assert result.exit_code == 1 and reason in result.stderr, result.output
    assert not rows(deployment, Broadcast)


def test_without_yes_and_without_a_terminal(run: Run, sangha: int, deployment: Deployment) -> None:
    result = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello")
    assert result.exit_code == 2 and "--yes" in result.output
    assert not rows(deployment, Broadcast)


def test_a_broadcast_for_later_goes_by_the_collectives_clock(run: Run, sangha: int, deployment: Deployment) -> None:
    result = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--at", "2026-04-12T18:00", "--yes")
    assert result.exit_code == 0, result.output
    timer = rows(deployment, Timer)[0]
    assert timer.kind == "broadcast" and timer.due_at.isoformat() == "2026-04-12T12:30:00+00:00"  # type: ignore[attr-defined]
    assert not rows(deployment, Outbound)
    told = json.loads(run("broadcast", "status", result.stdout.strip().splitlines()[-1], "--json").output)
    assert told["state"] == "scheduled" and told["total"] == 0


@pytest.mark.parametrize(
    ("at", "code"), [("2026-04-12T14:29", 1), ("2020-01-01T10:00", 1), ("2029-01-01T10:00", 1), ("tomorrow", 2), ("", 2)]
)
def test_a_moment_that_can_not_be(run: Run, sangha: int, deployment: Deployment, at: str, code: int) -> None:
    assert run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--at", at, "--yes").exit_code == code
    assert not rows(deployment, Broadcast)


def test_an_hour_that_summer_time_skips(run: Run, sangha: int, deployment: Deployment) -> None:
    with deployment.store.write() as session:
        session.execute(sa.update(Collective).values(timezone="America/Chicago"))
    result = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--at", "2027-03-14T02:30", "--yes")
    assert result.exit_code == 1 and "does not exist" in result.output


def test_a_broadcast_is_stopped(run: Run, sangha: int, deployment: Deployment) -> None:
    broadcast_id = run("broadcast", "send", "--collective", "SANGHA", "--text", "Hello", "--yes").stdout.strip().splitlines()[-1]
    assert "3 messages will not leave" in run("broadcast", "stop", broadcast_id).output
    told = json.loads(run("broadcast", "status", broadcast_id, "--json").output)
    assert told["state"] == "stopped" and told["counts"]["stopped"] == 3
    assert run("broadcast", "stop", broadcast_id).exit_code == 1
    assert json.loads(run("broadcast", "status", broadcast_id, "--watch", "--json").output) == told, "there is nothing to wait for"
    for act in ("stop", "status"):
        assert run("broadcast", act, "999").exit_code == 1
        assert run("broadcast", act, "one").exit_code == 2


# --- the rest -----------------------------------------------------------------------------------------------------------


def test_the_flows_are_listed(run: Run) -> None:
    told = run("flows").output
    assert "check_in" in told and "[JOIN]" in told and "flask talk" in told


def test_an_empty_database_is_migrated_once(tmp_path: object, world: World) -> None:
    settings = world.deployment.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/new.db"})
    deployment = Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys), world.clock))
    run = commands_of(deployment)
    before = run("supporter", "add", "+15550002224", "--collective", "SANGHA")
    assert before.exit_code == 1 and "not migrated" in before.output
    assert run("doctor").exit_code == 1
    assert run("db", "upgrade").exit_code == 0
    again = run("db", "upgrade")
    assert again.exit_code == 0 and "Nothing was to do" in again.output
    assert run(*CREATE).exit_code == 0
    deployment.store.close()


def test_a_database_that_is_away_is_told_in_one_sentence() -> None:
    settings = read_settings(
        database_url="postgresql://nobody:hunter2@127.0.0.1:1/none", twilio_account_sid="AC" + "a1" * 16, twilio_auth_token="5e" * 16,
        public_url="https://chorus.example.org", secret_key="a-session-secret-of-some-length",
        data_keys="t6jQmP0vYx3n1kZc8sWb5uLr2eHd9aFg4oIiTqXyN7M=",
    )  # fmt: skip
    deployment = Deployment(settings, Store(settings.database_url, Keyring(settings.data_keys)))
    result = commands_of(deployment)("supporter", "add", "+15550002224", "--collective", "SANGHA")
    assert result.exit_code == 1 and "The database does not answer" in result.output
    assert "hunter2" not in result.output and "5550002224" not in result.output


def test_every_command_of_the_contract_is_there_and_explains_itself(deployment: Deployment) -> None:
    app = Flask("chorus", static_folder=None)
    register(app)
    contract = [
        "db upgrade", "collective create", "line set", "members import", "members export",
        "broadcast preview", "broadcast send", "broadcast status",
        "broadcast stop", "supporter add", "organizer totp", "flows", "doctor", "purge", "keys rotate",
    ]  # fmt: skip
    runner = app.test_cli_runner()
    for name in contract:
        told = runner.invoke(args=[*name.split(), "--help"])
        assert told.exit_code == 0 and len(told.output.split("\n")) > 4, name
