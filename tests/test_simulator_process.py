"""The pretend carrier's process and its control paths."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

from bot.simulator.client import RunningSimulator, SimulatorRefused, start_simulator
from bot.simulator.ledger import Ledger, Message
from tests.carrier import MEMBER, SMS, TOKEN, Receiver, Rerouted


def test_control_requests_are_checked(simulator: RunningSimulator) -> None:
    foreign = requests.post(f"{simulator.url}/_sim/reset", headers={"Origin": "https://evil.example"}, timeout=5)
    assert foreign.status_code == 403
    form = requests.post(f"{simulator.url}/_sim/text", data={"from": MEMBER}, timeout=5)
    assert form.status_code == 415
    for told in ({"throttle": 1}, {"accept_hang": {"seconds": 3}}, {"receipts": {"lost": True}}, {"refuse": {MEMBER: 7}}):
        with pytest.raises(SimulatorRefused):
            simulator.client.faults(**told)
    with pytest.raises(SimulatorRefused, match="no such line"):
        simulator.client.text(MEMBER, "+15559990000", "hello")
    with pytest.raises(SimulatorRefused, match="has no colour"):
        simulator.client.configure(lines=[{"address": SMS, "colour": "red"}])
    assert requests.get(f"{simulator.url}/_sim/nothing", timeout=5).status_code == 404


def test_the_ledger_is_bounded_and_pages() -> None:
    ledger = Ledger(limit=3)
    for place in range(5):
        ledger.add(Message(f"SM{place}", "api", MEMBER, MEMBER, SMS, str(place), 1, "queued"))
    assert [message.body for message in ledger.entries()] == ["2", "3", "4"]
    assert [message.body for message in ledger.entries(since=4, phone=MEMBER)] == ["4"]
    assert set(ledger.by_sid) == {"SM2", "SM3", "SM4"} and ledger.accepted == 5


def test_it_ends_at_once_although_someone_hangs(receiver: Receiver) -> None:
    simulator = start_simulator(webhook_base=receiver.url, token=TOKEN)
    simulator.client.faults(accept_hang=60)
    twilio = Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))
    outcome: list[BaseException] = []

    def create() -> None:
        try:
            twilio.messages.create(to=MEMBER, from_=SMS, body="x")
        except (requests.RequestException, TwilioRestException) as error:
            outcome.append(error)

    hanging = threading.Thread(target=create)
    hanging.start()
    simulator.client.wait_for(lambda: simulator.client.count() == 1)
    simulator.process.send_signal(signal.SIGTERM)
    assert simulator.process.wait(5) == 0
    hanging.join(5)
    assert not hanging.is_alive()
    simulator.stop()


def test_it_ends_with_whoever_started_it() -> None:
    simulator = start_simulator()
    assert simulator.process.stdin is not None
    simulator.process.stdin.close()
    assert simulator.process.wait(5) == 0
    simulator.process.stdin = None
    simulator.stop()


def test_a_wrong_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "simulator.json"
    config.write_text('{"lines": [{"address": "nonsense-address"}]}')
    command = [sys.executable, "-m", "bot.simulator", "--port", "0", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == 2
    assert "address" in ended.stderr
