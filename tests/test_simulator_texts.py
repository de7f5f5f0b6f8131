"""The pretend carrier: a text from a phone becomes a signed webhook, and the carrier hears its own words."""

from __future__ import annotations

import pytest
from flask import Response
from twilio.rest import Client

from bot.simulator.client import RunningSimulator
from bot.simulator.twiml import TwimlRefused, read_twiml
from tests.carrier import MEMBER, OTHER, POOL, SERVICE, SMS, WHATSAPP, Receiver, refused, twiml


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
