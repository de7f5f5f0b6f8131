"""Every word that starts a flow, and every flow: the product on one screen.

``always``: obeyed in the middle of any question. Everything else waits until no question is open ("Home" is an answer to "where
shall we meet?"). No flow offers a carrier's word as an option, and no word here means something else in a crowd (laws in tests/).
"""

from bot.conversation.steps import FlowEntry, Word

from .action_alert import action_alert, status
from .asking import help_, lang, me, menu, name
from .check_in import check_in
from .choosing import early, quiet, sms
from .join import join
from .leaving import back, forget, leave, pause, start, stop, stop_asked, wrong
from .notes import care_words, note, notes, off, on, reply, sos
from .organizing import alert, at, change, drop_it, hold_it, in_language, new_poll, ok, resend_it, send
from .poll import close, poll, polls
from .which import which_group, which_question

# word, flow, also spelled, whether in any state, for whom, what it takes
WORDS = (
    Word("STOP", "stop", (), always=True, who="anyone"),  # its many spellings stand in bot/languages/stop_phrases
    Word("START", "start", ("unstop", "shuru karo", "comenzar", "शुरू करें"), always=True, who="anyone"),
    Word("HELP", "help_", ("info", "ayuda", "madad", "मदद"), always=True, who="anyone"),
    Word("SOS", "sos", ("emergencia", "bachao", "बचाओ"), always=True, takes="said"),
    Word("MENU", "menu", ("opciones", "मेनू"), always=True),
    Word("PAUSE", "pause", ("pausa", "viraam", "विराम"), always=True, takes="days"),
    Word("FORGET", "forget", ("forget me", "olvidar", "olvidame", "bhool jao", "भूल जाओ"), always=True),
    Word("WRONG", "wrong", ("wrong number", "numero equivocado", "galat number", "गलत नंबर"), always=True, who="anyone"),
    Word("JOIN", "join", ("unirme", "unirse", "judo", "जुड़ो", "जुड़ें"), always=True, who="anyone", takes="word", alone=False),
    Word("ALERT", "alert", ("alerta",), always=True, who="organizer", takes="written"),
    Word("SEND", "send", ("enviar", "bhejo"), always=True, who="organizer", takes="written"),
    Word("POLL", "new_poll", ("votacion",), always=True, who="organizer", takes="written"),
    Word("OK", "ok", (), always=True, who="organizer", takes="number", alone=False),
    Word("REPLY", "reply", ("responder", "jawab"), always=True, who="organizer or supporter", takes="written"),
    Word("HOLD", "hold_it", ("detener", "roko"), always=True, who="organizer", takes="number"),
    Word("CHANGE", "change", ("cambiar", "badlo", "बदलो"), always=True, who="organizer", takes="written", alone=False),
    Word("DROP", "drop_it", ("descartar", "radd", "रद्द"), always=True, who="organizer", takes="number", alone=False),
    Word("RESEND", "resend_it", ("reenviar", "phir bhejo", "फिर भेजो"), always=True, who="organizer", takes="number", alone=False),
    Word("AT", "at", ("a las", "samay", "समय"), who="organizer with a draft", takes="said", alone=False),
    *(
        Word(code, "in_language", also, who="organizer with a draft", takes="written", alone=False, capitals=True, gives={"language": name})
        for code, also, name in (("HI", (), "hi"), ("HILATN", ("hi-latn",), "hi-Latn"), ("ES", (), "es"), ("EN", (), "en"))
    ),
    Word("NOTE", "note", ("nota", "sandesh", "संदेश"), takes="text", alone=False),
    Word("STATUS", "status", ("estado", "haal"), who="organizer", takes="number"),
    Word("NOTES", "notes", ("notas",), who="organizer"),
    Word("CLOSE", "close", ("cerrar",), who="organizer", takes="number"),
    Word("ON", "on", (), who="supporter"),
    Word("OFF", "off", (), who="supporter", always=True),
    Word("QUIET", "quiet", ("silencio", "shaant", "शांत"), takes="hours"),
    Word("QUIET OFF", "quiet", ("silencio no", "shaant nahi", "शांत नहीं"), gives={"off": "off"}),
    Word("EARLY", "early", ("temprano", "savere", "सवेरे")),
    Word("EARLY OFF", "early", ("temprano no", "savere nahi", "सवेरे नहीं"), gives={"off": "off"}),
    Word("SMS", "sms", ()),
    Word("SMS OFF", "sms", ("sms no", "sms nahi", "sms नहीं"), gives={"off": "off"}),
    Word("BACK", "back", ("volver", "wapas", "वापस")),
    Word("LEAVE", "leave", ("abandonar", "chhod do group", "समूह छोड़ें")),
    Word("LANG", "lang", ("language", "idioma", "lengua", "bhasha", "भाषा"), takes="said"),
    Word("NAME", "name", ("nombre", "naam", "नाम"), takes="said"),
    Word("ME", "me", ("mis datos", "mera data", "मेरा डेटा")),
    Word("POLLS", "polls", ("votes", "votaciones", "vote", "वोट")),
    Word("CHECKIN", "check_in", ("check in", "check-in", "haal chaal", "como estoy")),
)

_ASKED = {"broadcast_id": 1}
_WRITTEN = {"written": "Rally today 10am Gandhi Chowk"}

FLOWS = {
    entry.name: entry
    for entry in (
        FlowEntry(join, "joining a collective", example={"word": "sangha"}),
        FlowEntry(check_in, "how are you, and the offer of a peer", private=True),
        FlowEntry(poll, "voting", reanswered=True, example=_ASKED),
        FlowEntry(polls, "which votes are open"),
        FlowEntry(close, "an organizer ends a vote"),
        FlowEntry(action_alert, "who comes to an action", reanswered=True, example=_ASKED),
        FlowEntry(status, "headcount and progress for organizers"),
        FlowEntry(send, "an organizer writes a notice", example=_WRITTEN),
        FlowEntry(alert, "an organizer calls to an action", example=_WRITTEN),
        FlowEntry(new_poll, "an organizer asks a vote", example={"written": "Where do we meet? / Park / School"}),
        FlowEntry(in_language, "the draft in another language", example={"language": "hi", **_WRITTEN}),
        FlowEntry(ok, "another organizer agrees", example={"number": "47"}),
        FlowEntry(hold_it, "any organizer holds what is unsent"),
        FlowEntry(change, "new words for what was sent", example={"written": "47 Rally at 6pm, Gandhi Chowk"}),
        FlowEntry(drop_it, "nothing more of it leaves, for good", example={"number": "47"}),
        FlowEntry(resend_it, "what is not confirmed goes out once more", example={"number": "47"}),
        FlowEntry(at, "the hour of a draft", example={"said": "tomorrow 9am"}),
        FlowEntry(notes, "what members wrote"),
        FlowEntry(reply, "the answer to a note", example={"written": "7 We meet at six"}),
        FlowEntry(note, "what no flow took", example={"text": "When is the next meeting?"}),
        FlowEntry(care_words, "words beside a check-in, kept from the notes", private=True, example={"text": "he is out until eight"}),
        FlowEntry(sos, "a call for help"),
        FlowEntry(on, "a supporter's duty begins"),
        FlowEntry(off, "a supporter rests"),
        FlowEntry(stop, "no more texts from this number"),
        FlowEntry(stop_asked, "did she ask us to stop?"),
        FlowEntry(start, "texts again"),
        FlowEntry(leave, "leaving one collective"),
        FlowEntry(pause, "a rest from texts"),
        FlowEntry(back, "the end of a pause"),
        FlowEntry(quiet, "her own quiet hours"),
        FlowEntry(early, "texts on the morning of an action"),
        FlowEntry(sms, "SMS where WhatsApp fails"),
        FlowEntry(forget, "erasing what is held"),
        FlowEntry(wrong, "the number changed hands"),
        FlowEntry(help_, "who this is"),
        FlowEntry(menu, "what one can do"),
        FlowEntry(me, "what is held on me"),
        FlowEntry(name, "her name"),
        FlowEntry(lang, "her language"),
        FlowEntry(which_question, "which question she answers", private=True, example={"text": "yes", "asked": [1, 2]}),
        FlowEntry(which_group, "which collective she means", example={"text": "hello", "groups": [1, 2]}),
    )
}
