"""Twilio's error codes and our own reasons in words that an organizer understands, with what to do next.

``explain`` is English, for the command line and the console; the texts to organizers are short and in every language.
"""

from __future__ import annotations

from bot.delivery.errors import Reaction, reaction_to
from bot.languages import words

# By code where Twilio's page says more than the reaction does.
_CODES = {
    20003: "Twilio does not accept our account's keys. Check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.",
    20005: "The Twilio account is not active. Look at the account's page at Twilio.",
    21211: "This is not a phone number. Ask her for the right one.",
    21408: "The account may not write to this country. Switch it on at Twilio: Messaging, Settings, Geo permissions.",
    21606: "The sending number can not send texts there. Check the line with: flask doctor --line",
    21608: "A trial account may write only to numbers verified at Twilio. Upgrade the account.",
    21610: "She sent STOP. Nothing more goes to her on this line until she sends START.",
    21611: "Twilio's queue for this line is full. It goes on by itself in some minutes.",
    21612: "This line can not reach her number. Another line may.",
    21614: "This is not a mobile number.",
    21617: "The text is longer than 1600 characters.",
    21703: "The Messaging Service has no number to send from. Add one at Twilio.",
    30001: "Twilio's queue was full. It is sent again by itself.",
    30002: "The Twilio account is suspended. Look at the account's page at Twilio.",
    30003: "Her phone is off or out of reach. It is tried again after an hour, six hours and a day.",
    30004: "The carrier or a do-not-disturb list blocks texts to her. Reach her another way.",
    30005: "This number does not exist any more. Ask her for the new one.",
    30006: "This is a landline, or a carrier that takes no texts.",
    30007: "Carriers took it for spam. Use plainer words, no short links, and say who you are.",
    30008: "It did not arrive, and the carrier does not say why. It is tried once more.",
    30017: "The carrier is overloaded. It is tried once more.",
    30022: "Carriers let this line send fewer texts a second. Lower its pace: flask line set --mps",
    30023: "The day's limit of a carrier for this campaign is reached. The rest goes after midnight in California.",
    30027: "T-Mobile's daily limit for this campaign is reached. The rest goes after midnight in California.",
    30032: "The toll-free number is not verified. Finish its verification: flask registration",
    30034: "The number is not registered with US carriers (A2P 10DLC). Register it: flask registration",
    30035: "The number's registration is still being set up. It takes hours to days; nothing else is to do.",
    30036: "It could not be delivered before it was too late.",
    30410: "The carrier did not answer in time. It is tried once more.",
    30450: "Twilio took it for an attack on the bill (SMS pumping). It is tried again after half an hour.",
    63003: "This number is not on WhatsApp.",
    63007: "The WhatsApp sender is not set up at Twilio. Check the line with: flask doctor --line",
    63015: "The WhatsApp sandbox knows only who joined it. Use a sender of your own.",
    63016: "WhatsApp lets us write freely for 24 hours after her last text. It waits for her to write.",
    63018: "WhatsApp's limit for new talks on this line is reached. It is tried again in some hours.",
    63024: "She can not get WhatsApp messages on this number.",
    63032: "WhatsApp left her out of business messages for an experiment of its own.",
    63038: "The account's daily limit is reached. It goes on tomorrow.",
    63041: "WhatsApp paused the template, because people complained. Wait, or submit another: flask templates submit",
    63042: "WhatsApp disabled the template. Submit another: flask templates submit",
    63049: "WhatsApp chose not to deliver it. To US numbers it never is; elsewhere it is tried again later.",
    63051: "WhatsApp locked the business account. Look at Meta's Business Manager.",
}
_REACTIONS = {
    Reaction.FAIL: "Twilio could not send it (error {code}).",
    Reaction.EXPIRE: "It could not be delivered before it was too late.",
    Reaction.FILTERED: "Carriers took it for spam.",
    Reaction.OPT_OUT: "She blocked texts from this line. Nothing more goes to her there.",
    Reaction.REFUSE: "This number can not get texts from this line (error {code}).",
    Reaction.ELSEWHERE: "She can not get WhatsApp messages on this number.",
    Reaction.UNWANTED: "WhatsApp chose not to deliver it.",
    Reaction.WAIT: "The account may not send this now (error {code}). It is tried again later.",
    Reaction.HOLD_LINE: "The line is set up wrongly (error {code}). See: flask doctor --line",
    Reaction.SLOW: "Twilio asked us to go slower.",
    Reaction.BACK_OFF: "The carrier has too much from this line. It goes on by itself in some minutes.",
    Reaction.UNREACHABLE: "Her phone can not be reached. It is tried again.",
    Reaction.ONCE: "It did not arrive (error {code}). It is tried once more.",
    Reaction.NOT_FAST: "It is tried again after half an hour.",
    Reaction.MIDNIGHT: "A carrier's daily limit is reached. The rest goes after midnight in California.",
    Reaction.TOMORROW: "The account's daily limit is reached. It goes on tomorrow.",
    Reaction.TIER: "WhatsApp's limit for new talks is reached. It is tried again in some hours.",
    Reaction.TEMPLATE: "The WhatsApp template can not be used (error {code}). See: flask templates list",
    Reaction.WINDOW: "WhatsApp's 24 hours are over. It waits for her to write.",
}
_REASONS = {
    "cap": "The month's money is spent. Raise the cap, or it goes next month.",
    "cool_down": "Approved; it leaves in a moment, and any organizer may still hold it.",
    "corrected": "A correction took its place.",
    "country": "The account may not write to this country yet.",
    "daily_limit": "A daily limit is reached; it goes after midnight.",
    "detached": "The number changed hands.",
    "due": "Its hour has not come.",
    "filtered": "Carriers take it for spam; the rest is held until an organizer lets it go.",
    "forgotten": "She asked to be forgotten.",
    "left": "She left.",
    "line": "The line is at rest; see flask doctor --line.",
    "no_consent": "She never agreed to check-ins herself.",
    "no_template": "WhatsApp is closed for her and no approved template may knock: flask templates submit",
    "one_way": "It asks something, and the line can not hear.",
    "opted_out": "She sent STOP on this line.",
    "organizer": "An organizer holds it.",
    "other_person": "Somebody else holds her phone now.",
    "paused": "She paused.",
    "question": "Another question to her is still open.",
    "quiet_hours": "It is night where she is; it goes in the morning.",
    "refused": "The carrier never delivers to this number on this line.",
    "retry": "It did not arrive; it is tried again later.",
    "stopped": "The broadcast was stopped.",
    "too_late": "It was no longer worth sending.",
    "unreadable": "Its words or her number can not be opened with our keys.",
    "window": "WhatsApp is closed for her until she writes; a knock tells her that a note is waiting.",
    "window_open": "She wrote; no knock was needed.",
}


def explain(code: int | None, reason: str | None = None) -> str:
    """One or two English sentences: what happened, what to do. ``reason`` is ours, ``code`` Twilio's; what she or we decided says more
    than an error, so it comes first unless it only names a retry. Empty when there is nothing to explain."""
    return find_words(code, reason).format(code=code)


def find_words(code: int | None, reason: str | None = None) -> str:
    """The same with ``{code}`` still in it, so that whoever speaks another language can say it in hers."""
    if reason is not None and reason in _REASONS and (code is None or reason not in ("line", "retry", "daily_limit", "window")):
        return _REASONS[reason]
    if code is not None:
        return _CODES.get(code) or _REACTIONS[reaction_to(code)]
    return reason.replace("_", " ").capitalize() + "." if reason else ""


def every_explanation() -> list[str]:
    """All sentences that ``find_words`` knows."""
    return [*_CODES.values(), *_REACTIONS.values(), *_REASONS.values()]


def tell_line_trouble(language: str, collective: str, address: str, code: int) -> str:
    """For organizers, by text: why this line's messages wait and what to do. ``address`` is the line's own, nobody's phone."""
    return words(
        language,
        "{collective}: our texts from {line} wait. {why} Please tell whoever runs your Chorus.",
        collective=collective,
        line=address.removeprefix("whatsapp:"),
        why=_why(language, code),
    )


def _why(language: str, code: int) -> str:
    if code in (30032, 30034, 30035):
        return words(language, "Carriers do not know the number yet: it must be registered.")
    if code in (20003, 20005, 20403, 30002, 401, 403):
        return words(language, "The Twilio account is closed to us: check its keys and balance.")
    return words(language, "The line is set up wrongly (error {code}).", code=code)


def tell_first_failed(language: str, collective: str, number: int, code: int) -> str:
    """For organizers, by text: a broadcast is held because none of its first messages got through, and what to do."""
    return words(
        language,
        "{collective}: {number} is held, its first texts failed. {why} Please tell whoever runs your Chorus. To go on: OK {number}",
        collective=collective,
        number=number,
        why=_why(language, code),
    )


def tell_filtered(language: str, collective: str, number: int) -> str:
    """For organizers, by text: a broadcast is held because carriers take it for spam, and what to do."""
    return words(
        language,
        "{collective}: carriers take {number} for spam, so the rest is held. Write it anew in plain words, without links. "
        "To go on all the same: OK {number}",
        collective=collective,
        number=number,
    )
