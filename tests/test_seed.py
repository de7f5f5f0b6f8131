"""The demo's collective: made once, ready to be sent, and in the simulator's own terms."""

from __future__ import annotations

import json
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa

from bot.delivery.second_factor import check_factor
from bot.demo import seed as demo
from bot.demo.seed import PEOPLE, seed, simulator_config
from bot.languages.segments import count_segments
from bot.simulator.lines import read_config
from models import Broadcast, BroadcastText, Collective, Consent, Membership, Outbound, Person, Role, SecondFactor
from tests.conftest import START
from tests.world import World


def test_the_demo_is_made_once_and_ready_to_leave(world: World) -> None:
    assert seed(world.deployment) is True
    assert seed(world.deployment) is False, "what is there stays as it is"
    with world.store.read() as session:
        collective = session.scalars(sa.select(Collective)).one()
        assert (collective.word, collective.quiet_from) == ("sangha", None)
        assert sorted(session.scalars(sa.select(Role.role))) == ["organizer", "organizer", "supporter", "supporter"]
        assert session.scalar(sa.select(sa.func.count(Membership.id))) == 14 == len(PEOPLE)
        assert {"en", "es", "hi"} <= set(session.scalars(sa.select(Person.language)))
        assert all(session.scalars(sa.select(Membership.name)))
        kinds = session.execute(sa.select(Outbound.kind, sa.func.count()).group_by(Outbound.kind)).all()
        assert {kind: number for kind, number in kinds} == {"alert": 14, "poll": 8, "check_in": 2}
        assert set(session.scalars(sa.select(Outbound.state))) == {"queued"}
        cared = set(session.scalars(sa.select(Consent.membership_id).where(Consent.kind == "check_ins")))
        assert cared == set(session.scalars(sa.select(Outbound.membership_id).where(Outbound.kind == "check_in"))), "care needs a yes"
        for kind in ("alert", "poll"):
            texts = session.scalars(sa.select(BroadcastText.language).join(Broadcast).where(Broadcast.kind == kind))
            assert set(texts) == {"en", "es", "hi"}


def test_the_spanish_of_the_demo_costs_one_segment() -> None:
    for text in (demo.POLL["es"], demo.ALERT["es"], *demo.POLL_OPTIONS["es"]):
        assert count_segments(text).encoding == "GSM-7", text


def test_the_simulator_understands_its_configuration() -> None:
    config = read_config(json.loads(json.dumps(simulator_config({"+15550002222": "JBSWY3DPEHPK3PXP" * 2}, START))))
    assert config.phones and config.lines and [line.address for line in config.lines] == ["+15550001111", "whatsapp:+15550003333"]
    assert {phone.role for phone in config.phones} == {"member", "organizer", "supporter", "survivor", "newcomer"}
    assert [phone.name for phone in config.phones if phone.app_secret] == ["Asha"]
    assert config.conversation == {"World": "demo", "Begins": "2026-04-12T09:00:00+00:00"}
    assert {phone.channel for phone in config.phones} == {"sms", "whatsapp"}


def test_the_program_writes_the_simulators_file(
    small_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = small_world.deployment.settings.model_copy(update={"chorus_home": tmp_path / "home"})
    monkeypatch.setattr(demo, "open_deployment", lambda: type(small_world.deployment)(settings, small_world.store))
    assert demo.main() == 0 and demo.main() == 0
    file = tmp_path / "home" / "simulator.json"
    secrets = demo.read_app_secrets(small_world.store)
    assert json.loads(file.read_text(encoding="utf-8")) == simulator_config(secrets, START)
    assert set(secrets) == {"+15550002222", "+15550002223"} and len(set(secrets.values())) == 2, "the organizers have an app, each her own"
    with small_world.store.write() as session:
        asha = session.scalars(sa.select(SecondFactor.membership_id).order_by(SecondFactor.membership_id).limit(1)).one()
        code = pyotp.TOTP(secrets["+15550002222"]).at(START)
        assert check_factor(session, START, asha, code) == "right", "it counts from the first minute on"
    assert file.stat().st_mode & 0o077 == 0, "only its owner reads it"
    assert "no quiet hours" in capsys.readouterr().out
