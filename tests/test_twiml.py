"""The answer that we write out is the one that Twilio's own library would write."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import example, given
from hypothesis import strategies as st
from twilio.twiml.messaging_response import Message, MessagingResponse

from bot.inbound.twiml import write_answer
from bot.languages import clean_text


@given(st.text().map(clean_text), st.text("abc/?&=<>\"'-_0"))
@example("<b>&amp;</b> ]]> \"quoted\" 'so'\nहाँ 👍\t", "https://chorus.example.org/twilio/status/1-1-a")
def test_any_text_and_any_address(body: str, callback: str) -> None:
    response = MessagingResponse()
    reply = Message(status_callback=callback)
    reply.body(body)
    response.append(reply)
    ours, theirs = write_answer(body, callback), str(response)
    assert ElementTree.canonicalize(ours) == ElementTree.canonicalize(theirs)
    assert ElementTree.fromstring(ours.encode()).findtext("Message/Body") == body
