"""The pretend carrier, over real HTTP: driven by the unmodified twilio SDK on one side, calling a small web application on the other."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask, Response, request
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from werkzeug.serving import make_server

from bot.simulator.client import RunningSimulator, SimulatorRefused, start_simulator
from bot.simulator.ledger import Ledger, Message
from bot.simulator.twiml import TwimlRefused, read_twiml

TOKEN = "a-token-of-the-test"
SMS, OTHER, WHATSAPP, SERVICE = "+15550001111", "+15550001119", "whatsapp:+15550001112", "MG" + "a" * 32
POOL = ["+15550001113", "+15550001114"]
LINES: list[str | dict[str, Any]] = [SMS, OTHER, WHATSAPP, *POOL, {"address": SERVICE, "pool": POOL}]
MEMBER = "+15550003333"


class Receiver:
    """The application that the carrier calls: keeps every request, answers with `answer`, and knows whether the signature held."""

    def __init__(self) -> None:
        self.texts: list[dict[str, str]] = []
        self.receipts: list[dict[str, str]] = []
        self.signed: list[bool] = []
        self.answer: Callable[[dict[str, str]], Response | str] = lambda form: twiml()
        app = Flask("receiver")
        app.post("/twilio/inbound")(self.hear)
        app.post("/twilio/status/<token>")(self.hear_status)
        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.believed_url = self.url
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def hear(self) -> Response | str:
        self._check()
        self.texts.append(request.form.to_dict())
        return self.answer(self.texts[-1])

    def hear_status(self, token: str) -> tuple[str, int]:
        self._check()
        self.receipts.append({**request.form.to_dict(), "token": token})
        return "", 204

    def _check(self) -> None:
        signature = request.headers.get("X-Twilio-Signature", "")
        self.signed.append(RequestValidator(TOKEN).validate(self.believed_url + request.path, request.form, signature))

    def statuses(self, sid: str) -> list[str]:
        return [one["MessageStatus"] for one in list(self.receipts) if one["MessageSid"] == sid]

    def callback(self, token: str = "t") -> str:
        return f"{self.url}/twilio/status/{token}"


def twiml(*messages: str, attributes: str = "") -> Response:
    inside = "".join(f"<Message{attributes}>{message}</Message>" for message in messages)
    return Response(f'<?xml version="1.0" encoding="UTF-8"?><Response>{inside}</Response>', mimetype="text/xml")


class Rerouted(TwilioHttpClient):
    """The SDK's own HTTP client, with another host."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=10)
        self.base = base

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self.base), *args, **kwargs)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def running(receiver: Receiver) -> Iterator[RunningSimulator]:
    with start_simulator(webhook_base=receiver.url, token=TOKEN) as running:
        yield running


@pytest.fixture
def simulator(running: RunningSimulator, receiver: Receiver) -> RunningSimulator:
    """The running simulator, with nothing in it but the lines."""
    running.client.reset()
    running.client.configure(lines=LINES, phones=[], contents={})
    running.client.faults(receipts={"sent_ms": 2, "delivered_ms": 5})
    receiver.answer, receiver.believed_url = (lambda form: twiml()), receiver.url
    for kept in (receiver.texts, receiver.receipts, receiver.signed):
        kept.clear()
    return running


@pytest.fixture
def twilio(simulator: RunningSimulator) -> Client:
    return Client(simulator.account, TOKEN, http_client=Rerouted(simulator.url))


def refused(twilio: Client, **fields: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        twilio.messages.create(**({"to": MEMBER, "from_": SMS, "body": "hello"} | fields))
    return caught.value


def post_raw(simulator: RunningSimulator, **fields: str) -> requests.Response:
    url = f"{simulator.url}/2010-04-01/Accounts/{simulator.account}/Messages.json"
    return requests.post(url, data=fields, auth=(simulator.account, TOKEN), timeout=10)


# --- the REST interface ---


def test_create_answers_every_documented_key_in_its_type(simulator: RunningSimulator) -> None:
    response = post_raw(simulator, To=MEMBER, From=SMS, Body="नमस्ते " * 11)
    assert response.status_code == 201
    answer = response.json()
    uri = f"/2010-04-01/Accounts/{simulator.account}/Messages/{answer['sid']}"
    assert re.fullmatch(r"SM[0-9a-f]{32}", answer["sid"])
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", answer.pop("date_created"))
    assert answer.pop("date_updated")
    assert answer == {
        "account_sid": simulator.account, "api_version": "2010-04-01", "body": "नमस्ते " * 11, "date_sent": None,
        "direction": "outbound-api", "error_code": None, "error_message": None, "from": SMS, "messaging_service_sid": None,
        "num_media": "0", "num_segments": "2", "price": None, "price_unit": "USD", "sid": answer["sid"], "status": "queued",
        "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"}, "to": MEMBER, "uri": f"{uri}.json",
    }  # fmt: skip


def test_an_accepted_message_is_in_the_ledger_once_and_arrives(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="Rally at ten", status_callback=receiver.callback("a1")).sid
    simulator.client.wait_for(lambda: receiver.statuses(sid) == ["sent", "delivered"])
    (entry,) = simulator.client.ledger(MEMBER)
    assert (entry["sid"], entry["from"], entry["segments"], entry["status_callback"]) == (sid, SMS, 1, receiver.callback("a1"))
    assert entry["request_number"] == 1
    assert simulator.client.received(MEMBER) == ["Rally at ten"]
    assert receiver.signed == [True, True]
    told = receiver.receipts[1]
    assert told.pop("RawDlrDoneDate").isdigit()
    assert told == {
        "AccountSid": simulator.account, "ApiVersion": "2010-04-01", "From": SMS, "To": MEMBER, "MessageSid": sid, "SmsSid": sid,
        "MessageStatus": "delivered", "SmsStatus": "delivered", "token": "a1",
    }  # fmt: skip
    fetched = twilio.messages(sid).fetch()
    assert (fetched.status, fetched.date_sent is not None) == ("delivered", True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "+1"}, 21211),
        ({"to": "5551234567"}, 21211),
        ({"body": None}, 21602),
        ({"body": "x" * 1601}, 21617),
        ({"from_": None}, 21603),
        ({"from_": "+15559998888"}, 21606),
        ({"from_": "not a number at all"}, 21212),
        ({"to": SMS}, 21266),
        ({"from_": WHATSAPP}, 21910),
        ({"from_": "whatsapp:+15559998888", "to": f"whatsapp:{MEMBER}"}, 63007),
        ({"status_callback": "ftp://example.org/x"}, 21609),
        ({"status_callback": "https://under_score.example.org/x"}, 21609),
        ({"from_": None, "messaging_service_sid": "MG" + "b" * 32}, 21701),
        ({"from_": None, "messaging_service_sid": SERVICE, "to": f"whatsapp:{MEMBER}"}, 21703),
        ({"body": None, "content_sid": "HX" + "0" * 32}, 21655),
        ({"media_url": ["https://example.org/a.jpg"] * 11}, 21623),
    ],
)
def test_what_twilio_refuses_is_refused_with_its_code(
    simulator: RunningSimulator, twilio: Client, fields: dict[str, Any], code: int
) -> None:
    error = refused(twilio, **fields)
    assert (error.status, error.code) == (400, code)
    assert simulator.client.ledger() == []


def test_errors_have_twilios_shape(simulator: RunningSimulator) -> None:
    answer = post_raw(simulator, From=SMS, Body="hello").json()
    assert answer == {
        "code": 21604, "message": "A 'To' phone number is required.", "status": 400,
        "more_info": "https://www.twilio.com/docs/errors/21604",
    }  # fmt: skip


def test_only_the_accounts_own_token_opens(simulator: RunningSimulator) -> None:
    for user, token in ((simulator.account, "wrong"), ("AC" + "9" * 32, TOKEN)):
        error = refused(Client(user, token, http_client=Rerouted(simulator.url)))
        assert (error.status, error.code) == (401, 20003)
    assert requests.get(f"{simulator.url}/2010-04-01/Accounts/{simulator.account}/Messages.json", timeout=5).status_code == 401


def test_the_list_filters_and_pages_newest_first(simulator: RunningSimulator, twilio: Client) -> None:
    sids = [twilio.messages.create(to=MEMBER, from_=SMS, body=f"number {place}").sid for place in range(5)]
    twilio.messages.create(to="+15550004444", from_=OTHER, body="another")
    simulator.client.wait_for(lambda: len(simulator.client.received(MEMBER)) == 5)
    assert [one.sid for one in twilio.messages.list(to=MEMBER, page_size=2)] == sids[::-1]
    assert [one.body for one in twilio.messages.list(from_=OTHER)] == ["another"]
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert len(twilio.messages.list(to=MEMBER, date_sent_after=now - hour, date_sent_before=now + hour)) == 5
    assert twilio.messages.list(to=MEMBER, date_sent_before=now - hour) == []
    assert len(twilio.messages.list(to=MEMBER, date_sent=now.date())) == 5


def test_fetch_redact_and_delete(simulator: RunningSimulator, twilio: Client) -> None:
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="secret").sid
    assert twilio.messages(sid).update(body="").body == ""
    assert twilio.messages(sid).delete()
    with pytest.raises(TwilioRestException) as caught:
        twilio.messages(sid).fetch()
    assert (caught.value.status, caught.value.code) == (404, 20404)
    assert twilio.messages.list(to=MEMBER) == []


def test_a_messaging_service_names_its_sender_later_and_keeps_to_it(
    simulator: RunningSimulator, twilio: Client, receiver: Receiver
) -> None:
    first = twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="one", status_callback=receiver.callback())
    assert (first.status, first.from_, first.num_segments, first.messaging_service_sid) == ("accepted", None, "0", SERVICE)
    simulator.client.wait_for(lambda: receiver.statuses(str(first.sid)) == ["queued", "sent", "delivered"])
    assert receiver.receipts[-1]["MessagingServiceSid"] == SERVICE
    twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="two")
    one, two = simulator.client.ledger(MEMBER)
    assert one["from"] == two["from"] in POOL
    assert twilio.messages(str(first.sid)).fetch().from_ == one["from"]
    other = next(sender for sender in POOL if sender != one["from"])
    simulator.client.text(MEMBER, other, "hello")
    assert receiver.texts[-1]["MessagingServiceSid"] == SERVICE
    twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="three")
    assert simulator.client.ledger(MEMBER)[-1]["from"] == other, "the sender she wrote to last"


# --- texts that come in ---


def test_an_sms_comes_with_the_full_parameter_set_signed(simulator: RunningSimulator, receiver: Receiver) -> None:
    receiver.answer = lambda form: twiml("Hello &amp; welcome", "Second")
    reply = simulator.client.text(MEMBER, SMS, "JOIN SANGHA é 🪧", FromCity="OAKLAND", NewParameter="x")
    assert (reply.status, reply.replies, reply.error) == (200, ["Hello & welcome", "Second"], None)
    assert receiver.signed == [True]
    assert receiver.texts == [{
        "AccountSid": simulator.account, "ApiVersion": "2010-04-01", "Body": "JOIN SANGHA é 🪧", "From": MEMBER, "To": SMS,
        "MessageSid": reply.sid, "SmsSid": reply.sid, "SmsMessageSid": reply.sid, "SmsStatus": "received", "NumMedia": "0",
        "NumSegments": "1", "FromCity": "OAKLAND", "FromState": "", "FromZip": "", "FromCountry": "US", "ToCity": "", "ToState": "",
        "ToZip": "", "ToCountry": "US", "NewParameter": "x",
    }]  # fmt: skip
    shown = simulator.client.messages(MEMBER)
    assert [(one["direction"], one["body"]) for one in shown] == [
        ("sent", "JOIN SANGHA é 🪧"), ("received", "Hello & welcome"), ("received", "Second"),
    ]  # fmt: skip


def test_a_whatsapp_tap_comes_with_its_own_parameters(simulator: RunningSimulator, receiver: Receiver) -> None:
    asked = "SM" + "1" * 32
    simulator.client.text(MEMBER, WHATSAPP, button=("Yes, I come", "yes"), in_reply_to=asked, name="Asha")
    told = receiver.texts[0]
    assert receiver.signed == [True]
    assert (told["From"], told["To"], told["WaId"], told["ProfileName"]) == (f"whatsapp:{MEMBER}", WHATSAPP, MEMBER[1:], "Asha")
    assert (told["Body"], told["ButtonText"], told["ButtonPayload"], told["MessageType"]) == ("Yes, I come", "Yes, I come", "yes", "button")
    assert told["OriginalRepliedMessageSid"] == asked
    assert '"ProfileName": "Asha"' in told["ChannelMetadata"]
    assert "FromCity" not in told


def test_media_may_come_without_a_body(simulator: RunningSimulator, receiver: Receiver) -> None:
    card = {"url": "https://example.org/c.vcf", "content_type": "text/vcard"}
    reply = simulator.client.text(MEMBER, SMS, None, media=["https://example.org/a.png", card])
    told = receiver.texts[0]
    assert reply.sid.startswith("MM") and receiver.signed == [True]
    assert "Body" not in told
    assert (told["NumMedia"], told["MediaContentType0"], told["MediaContentType1"]) == ("2", "image/png", "text/vcard")
    simulator.client.text(MEMBER, SMS, "hi", SmsStatus=None)
    assert "SmsStatus" not in receiver.texts[1]


def test_a_reply_reports_to_its_own_callback(simulator: RunningSimulator, receiver: Receiver) -> None:
    receiver.answer = lambda form: twiml("Noted", attributes=' statusCallback="status/r7"')
    simulator.client.text(MEMBER, SMS, "hello")
    simulator.client.wait_for(lambda: len(receiver.receipts) == 2)
    assert [(one["token"], one["MessageStatus"]) for one in receiver.receipts] == [("r7", "sent"), ("r7", "delivered")]
    assert all(receiver.signed)
    assert simulator.client.ledger(MEMBER) == [], "the ledger of sends holds what came by the API"
    assert [one["body"] for one in simulator.client.ledger(MEMBER, kind="reply")] == ["Noted"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response("<Response><Message>a & b</Message></Response>", mimetype="text/xml"), 12100),
        (Response("<Response><Message>\x0b</Message></Response>", mimetype="text/xml"), 12100),
        (Response("<Other/>", mimetype="text/xml"), 12100),
        (Response("{}", mimetype="application/json"), 12300),
        (Response(f"<Response><Message>{'x' * 1601}</Message></Response>", mimetype="text/xml"), 14103),
        (Response("no", status=500), 11200),
        (Response("no", status=403), 11200),
    ],
)
def test_a_bad_answer_has_twilios_error_and_no_effect(
    simulator: RunningSimulator, receiver: Receiver, answer: Response, error: int
) -> None:
    receiver.answer = lambda form: answer
    reply = simulator.client.text(MEMBER, SMS, "hello")
    assert (reply.error, reply.replies, reply.status) == (error, [], answer.status_code)
    typed, note = simulator.client.messages(MEMBER)
    assert (typed["status"], note["kind"], note["error_code"]) == ("failed", "note", error)


def test_at_most_ten_replies_and_plain_text_is_one() -> None:
    many = "<Response>" + "<Message><Body>x</Body></Message>" * 12 + "</Response>"
    assert len(read_twiml(many.encode(), "text/xml")) == 10
    assert [reply.body for reply in read_twiml(b"just words", "text/plain; charset=utf-8")] == ["just words"]
    assert read_twiml(b"", "") == []
    with pytest.raises(TwimlRefused):
        read_twiml(b'<!DOCTYPE x [<!ENTITY a "aa">]><Response><Message>&a;</Message></Response>', "text/xml")


def test_an_unreachable_webhook(simulator: RunningSimulator, receiver: Receiver) -> None:
    simulator.client.configure(webhook_base="http://127.0.0.1:1")
    reply = simulator.client.text(MEMBER, SMS, "hello")
    simulator.client.configure(webhook_base=receiver.url)
    assert (reply.status, reply.error) == (0, 11205)


def test_behind_a_proxy_the_public_address_is_signed(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> None:
    public = "https://chorus.example.org"
    simulator.client.configure(webhook_base=receiver.url, public_base=public)
    receiver.believed_url = public
    simulator.client.text(MEMBER, SMS, "hello")
    sid = twilio.messages.create(to=MEMBER, from_=SMS, body="x", status_callback=f"{public}/twilio/status/p").sid
    simulator.client.wait_for(lambda: len(receiver.statuses(sid)) == 2)
    simulator.client.configure(webhook_base=receiver.url)
    assert receiver.signed == [True] * 3


def test_the_same_sid_again_and_many_at_once_reach_the_phone_with_one_answer(simulator: RunningSimulator, receiver: Receiver) -> None:
    receiver.answer = lambda form: twiml("Once")
    first = simulator.client.text(MEMBER, SMS, "hello", times=5)
    assert [result["status"] for result in first.results] == [200] * 5
    simulator.client.text(MEMBER, SMS, "hello", sid=first.sid)
    assert {form["MessageSid"] for form in receiver.texts} == {first.sid}
    assert len(receiver.texts) == 6
    assert [one["body"] for one in simulator.client.messages(MEMBER)] == ["hello", "Once"]


# --- the carrier's own words ---


@pytest.mark.parametrize("word", ["STOP", "unsubscribe", "End", "QUIT", "stopall", "REVOKE", "OPTOUT", " cancel "])
def test_the_carrier_answers_stop_and_the_webhook_hears_it_too(
    simulator: RunningSimulator, twilio: Client, receiver: Receiver, word: str
) -> None:
    receiver.answer = lambda form: twiml("Why?")
    reply = simulator.client.text(MEMBER, SMS, word)
    assert receiver.texts[0]["Body"] == word and "OptOutType" not in receiver.texts[0]
    assert "unsubscribed" in reply.carrier[0]
    assert refused(twilio).code == 21610
    assert twilio.messages.create(to=MEMBER, from_=OTHER, body="another line").sid
    failed = simulator.client.ledger(MEMBER, kind="reply")
    simulator.client.wait_for(lambda: simulator.client.ledger(MEMBER, kind="reply")[0]["status"] == "failed")
    assert failed[0]["error_code"] == 21610, "a TwiML reply to her is refused as well"
    assert simulator.client.text(MEMBER, SMS, "STOP").carrier == []
    assert simulator.client.text(MEMBER, SMS, "yes").carrier, "YES takes a STOP back"
    assert twilio.messages.create(to=MEMBER, from_=SMS, body="back").sid


def test_words_that_are_not_the_carriers(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    for words in ("STOP PLEASE", "we got to STOP this bill", "yes", "HELP"):
        assert simulator.client.text(MEMBER, SMS, words).carrier == []
    assert simulator.client.text(MEMBER, WHATSAPP, "STOP").carrier == [], "on WhatsApp the application answers"
    assert twilio.messages.create(to=MEMBER, from_=SMS, body="still there").sid
    simulator.client.configure(lines=[{"address": SMS, "carrier_answers_help": True}])
    assert simulator.client.text(MEMBER, SMS, "info").carrier


def test_a_stop_to_one_pool_number_blocks_the_service(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    simulator.client.configure(lines=[*POOL, {"address": SERVICE, "pool": POOL, "advanced_opt_out": True}])
    simulator.client.text(MEMBER, POOL[0], "STOP")
    assert receiver.texts[0]["OptOutType"] == "STOP"
    assert refused(twilio, from_=POOL[1]).code == 21610
    assert refused(twilio, from_=None, messaging_service_sid=SERVICE).code == 21610
    simulator.client.block(MEMBER, POOL[0], False)
    assert twilio.messages.create(to=MEMBER, messaging_service_sid=SERVICE, body="again").sid


def test_whatsapp_takes_free_text_only_in_the_day_after_her_text(simulator: RunningSimulator, twilio: Client, receiver: Receiver) -> None:
    simulator.client.configure(contents={"HX1": {"body": "Rally {{1}}", "buttons": [{"title": "Yes", "id": "y"}]}})
    to = f"whatsapp:{MEMBER}"
    late = twilio.messages.create(to=to, from_=WHATSAPP, body="free text", status_callback=receiver.callback("w"))
    simulator.client.wait_for(lambda: receiver.statuses(str(late.sid)) == ["failed"])
    assert receiver.receipts[0]["ErrorCode"] == "63016" and receiver.receipts[0]["ChannelPrefix"] == "whatsapp"
    template = twilio.messages.create(to=to, from_=WHATSAPP, content_sid="HX1", content_variables='{"1": "today"}')
    assert template.body == "Rally today"
    simulator.client.text(MEMBER, WHATSAPP, "hello")
    free = twilio.messages.create(to=to, from_=WHATSAPP, body="free text", status_callback=receiver.callback("w"))
    simulator.client.wait_for(lambda: receiver.statuses(str(free.sid)) == ["sent", "delivered"])
    assert receiver.receipts[-1]["EventType"] == "DELIVERED"
    (shown,) = [one for one in simulator.client.messages(MEMBER) if one["body"] == "Rally today"]
    assert shown["buttons"] == [{"title": "Yes", "payload": "y"}]


# --- what goes wrong ---


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


# --- the process and its control ---


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


# --- the page ---


def test_the_page_is_inert_and_loads_only_its_own_files(simulator: RunningSimulator) -> None:
    simulator.client.configure(phones=[{"number": MEMBER, "name": "<script>alert(1)</script>", "line": SMS}])
    page = requests.get(simulator.url + "/", timeout=5)
    assert "<title>Phones</title>" in page.text
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "style=" not in page.text and "onclick" not in page.text
    for file in ("/static/phones.js", "/static/phones.css", "/favicon.ico"):
        assert requests.get(simulator.url + file, timeout=5).status_code == 200
    assert requests.get(simulator.url + "/static/../page.py", timeout=5).status_code == 404
    assert "innerHTML" not in requests.get(simulator.url + "/static/phones.js", timeout=5).text


@pytest.mark.browser
def test_anyone_can_text_from_a_phone_and_sees_the_answer(simulator: RunningSimulator, receiver: Receiver, twilio: Client) -> None:
    from playwright.sync_api import expect, sync_playwright

    receiver.answer = lambda form: twiml("You wrote &lt;b&gt;" + form["Body"].replace("<", "&lt;"))
    phones = [{"number": MEMBER, "name": "Asha", "line": SMS}, {"number": "+15550004444", "name": "River", "role": "survivor", "line": SMS}]
    simulator.client.configure(phones=phones)
    problems: list[str] = []
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        for width in (360, 1280):
            page = browser.new_page(viewport={"width": width, "height": 800})
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(simulator.url)
            expect(page).to_have_title("Phones")
            asha = page.locator(f'.phone[data-number="{MEMBER}"]')
            asha.get_by_label("Text from Asha").fill(f"<img src=x onerror=alert({width})>")
            asha.get_by_label("Text from Asha").press("Enter")
            expect(asha.get_by_text(f"You wrote <b><img src=x onerror=alert({width})>")).to_be_visible()
            assert asha.locator("img").count() == 0
            river = page.locator('.phone[data-number="+15550004444"]')
            twilio.messages.create(to="+15550004444", from_=SMS, body=f"Live at {width}")
            expect(river.get_by_text(f"Live at {width}")).to_be_attached()
            expect(page.locator('.chip[data-number="+15550004444"] .badge')).to_have_text("1")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Add a phone").click()
        page.get_by_label("Number").fill("+15550005555")
        page.get_by_label("Name on the page").fill("Sam")
        page.get_by_label("Texts to").last.select_option(WHATSAPP)
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator('.phone.whatsapp[data-number="+15550005555"]')).to_be_visible()
        page.get_by_role("button", name="Carrier faults").click()
        page.get_by_role("button", name="Switch on").click()
        expect(page.locator("#fault-list")).to_contain_text("too many requests, 1 more")
        browser.close()
    assert refused(twilio).status == 429
    assert problems == []
