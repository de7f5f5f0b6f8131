"""Twilio's error codes in plain words, as the page says them beside the number."""

from __future__ import annotations

from bot.simulator.words import say

WORDS = {
    11200: "Chorus answered the webhook with an error",
    11205: "Chorus could not be reached",
    12100: "Chorus' answer was no TwiML",
    12300: "Chorus' answer was no TwiML",
    14103: "Chorus' answer was no message",
    21211: "not a valid number",
    21408: "this country is not switched on",
    21608: "a trial account writes to verified numbers only",
    21610: "this person has opted out",
    21614: "not a mobile number",
    30001: "the line's queue is full",
    30002: "the account is suspended",
    30003: "the phone is off or out of reach",
    30004: "blocked by the person or the carrier",
    30005: "no such number",
    30006: "a landline, or out of reach",
    30007: "the carrier took it for spam",
    30008: "the carrier gives no reason",
    30032: "the toll-free number is not verified",
    30034: "our number is not registered with US carriers",
    63016: "outside WhatsApp's 24 hours, and no template",
    63024: "this number has no WhatsApp",
    63041: "WhatsApp paused the template",
    63042: "WhatsApp switched the template off",
}


def explain(code: int | None, language: str) -> str:
    """The code in words; "" when there is none or it has no words here."""
    return say(language, WORDS[code]) if code in WORDS else ""
