"""The pretend carrier's faults: what goes wrong, and how often."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import requests
from twilio.rest import Client

from bot.simulator.client import RunningSimulator
from tests.carrier import MEMBER, SMS, TOKEN, Receiver, Rerouted, post_raw, refused


def test_refusals_that_processed_nothing(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.faults(throttle_429={"count": 2}, reject_500={"count": 3})
    assert {(error.status, error.code) for error in (refused(twilio) for _ in range(2))} == {(429, 20429)}
    assert {(error.status, error.code) for error in (refused(twilio) for _ in range(3))} == {(500, 20500)}
    simulator.client.faults(refuse={MEMBER: {"code": 21612, "count": 1}})
    assert refused(twilio).code == 21612
    assert simulator.client.ledger() == []
    assert twilio.messages.create(to=MEMBER, from_=SMS, body="works").sid
    assert simulator.client.ledger()[0]["request_number"] == 7


def test_accepted_but_the_answer_is_lost(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.faults(accept_500={"count": 1})
    assert refused(twilio, body="one").status == 500
    simulator.client.faults(accept_reset={"count": 1})
    with pytest.raises(requests.ConnectionError):
        twilio.messages.create(to=MEMBER, from_=SMS, body="two")
    simulator.client.faults(accept_hang={"hang_s": 30, "count": 1})
    hasty = Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))
    hasty.http_client.timeout = 0.3
    with pytest.raises(requests.Timeout):
        hasty.messages.create(to=MEMBER, from_=SMS, body="three")
    assert [entry["body"] for entry in simulator.client.ledger()] == ["one", "two", "three"]
    simulator.client.wait_for(lambda: simulator.client.received(MEMBER) == ["one", "two", "three"])


def test_clearing_the_faults_lets_go_whoever_hangs(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.faults(accept_hang=60)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(twilio.messages.create(to=MEMBER, from_=SMS, body="x")))
    waiting.start()
    simulator.client.wait_for(lambda: simulator.client.count() == 1)
    assert not answers
    simulator.client.clear_faults()
    waiting.join(5)
    assert answers[0].status == "queued"


def test_a_fault_may_strike_a_share_or_one_recipient(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.faults(throttle_429={"share": 0.5})
    statuses = [post_raw(simulator, To=MEMBER, From=SMS, Body="x").status_code for _ in range(40)]
    assert 8 <= statuses.count(429) <= 32
    simulator.client.faults(throttle_429={"to": "+15550004444"})
    assert twilio.messages.create(to=MEMBER, from_=SMS, body="x").sid
    assert refused(twilio, to="+15550004444").status == 429
    simulator.client.faults(throttle_429={"for_s": 0})
    assert twilio.messages.create(to="+15550004444", from_=SMS, body="x").sid


@pytest.mark.parametrize(
    ("receipts", "expected"),
    [
        ({"out_of_order": 1}, ["delivered", "sent"]),
        ({"duplicate": True}, ["sent", "sent", "delivered", "delivered"]),
        ({"late": 20}, ["sent", "delivered"]),
        ({"final": {MEMBER: 30003}}, ["sent", "undelivered"]),
        ({"final": {"*": {"code": 30001, "count": 1}}}, ["failed"]),
    ],
)
def test_receipts_go_wrong_as_told(
    simulator: RunningSimulator, twilio: Client, receiver: Receiver, receipts: dict[str, Any], expected: list[str]
) -> None:
    simulator.client.faults(receipts=receipts)
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="x", status_callback=receiver.callback()).sid
    simulator.client.wait_for(lambda: len(receiver.receipts) >= len(expected))
    assert receiver.statuses(sid) == expected
    final = twilio.messages(sid).fetch()
    assert final.status in expected
    if "final" in receipts:
        assert receiver.receipts[-1]["ErrorCode"] == str(final.error_code)
        assert simulator.client.received(MEMBER) == []


def test_receipts_before_the_answer_and_none_at_all(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    simulator.client.faults(latency_ms=200, receipts={"before_answer": {"count": 1}})
    early = twilio.messages.create(to=MEMBER, from_=SMS, body="x", status_callback=receiver.callback())
    assert receiver.statuses(str(early.sid)) == ["sent", "delivered"]
    simulator.client.faults(latency_ms=0, receipts={"drop": True})
    silent = twilio.messages.create(to=MEMBER, from_=SMS, body="y", status_callback=receiver.callback())
    simulator.client.wait_for(lambda: twilio.messages(str(silent.sid)).fetch().status == "delivered")
    assert receiver.statuses(str(silent.sid)) == []


def test_a_line_sends_at_its_pace_and_its_queue_ends(simulator: RunningSimulator, twilio: Client) -> None:
    simulator.client.configure(lines=[{"address": SMS, "mps": 0.0001}])
    for _ in range(4):
        twilio.messages.create(to=MEMBER, from_=SMS, body="x")
    assert (refused(twilio).status, refused(twilio).code) == (429, 21611)
    (line,) = simulator.client.state()["lines"]
    assert line["segments_sent"] == 4 and line["peak_backlog_s"] > 36_000
    statuses = [entry["status"] for entry in simulator.client.ledger()]
    assert statuses.count("queued") >= 3, "the second leaves after hours"
