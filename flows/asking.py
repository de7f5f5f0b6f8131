"""What she may ask: HELP, MENU, ME; NAME and LANG."""

from datetime import timedelta

from bot.conversation.actions import keep_language, keep_name, read_about, read_me, read_roles, understand_language
from bot.conversation.steps import SILENCE, Do, Flow, LanguageChoice, OwnWords, PersonName, Say


def help_() -> Flow:
    """HELP (CTIA): who this is, what it is, what it costs, how to end it."""
    about = yield Do("about", read_about)
    if not about["known"]:
        yield Say("This is the number of a group. To join, send JOIN and the group's word. STOP ends all texts.")
    elif about["several"]:
        yield Say(
            "{collective}: about 4 texts a week each. Msg&data rates may apply. MENU: all words. SOS: urgent help. STOP: end all texts.",
            {"collective": about["collective"]},
        )
    elif about["about"]:
        yield Say(
            "{collective}: {about}. About 4 texts a week. Msg&data rates may apply. MENU: all words. SOS: urgent help. STOP: end.",
            {"collective": about["collective"], "about": OwnWords(about["about"])},
        )
    else:
        yield Say(
            "{collective}: about 4 texts a week. Msg&data rates may apply. MENU: all words. SOS: urgent help. STOP: end.",
            {"collective": about["collective"]},
        )


def menu() -> Flow:
    """MENU: at most six lines. Private words are not on it: somebody else may hold the phone."""
    roles = yield Do("roles", read_roles)
    yield Say("POLLS: open votes\nLANG: language. NAME: your name\nPAUSE, LEAVE, STOP: less or no texts\nME: what we hold on you")
    yield Say("QUIET, EARLY, SMS: when and how" if roles.get("sms") else "QUIET, EARLY: when we may text you")
    if roles["organizer"]:
        yield Say("SEND, POLL, ALERT + words; STATUS, NOTES, REPLY, HOLD, CHANGE, DROP, CLOSE")
    elif roles["supporter"]:
        yield Say("ON, OFF: your duty. REPLY + number + words")
    else:
        yield Say("Or just write to us.")


def me() -> Flow:
    """ME: what is held on me."""
    held = yield Do("me", read_me)
    if held["name"]:
        yield Say(
            "We hold: this number, name {name}, groups {collectives} since {since}. Texts are deleted after 7 days. FORGET deletes all.",
            {"name": held["name"], "collectives": held["collectives"], "since": held["since"]},
        )
    else:
        yield Say(
            "We hold: this number, groups {collectives} since {since}. Texts are deleted after 7 days. FORGET deletes all.",
            {"collectives": held["collectives"], "since": held["since"]},
        )
    if held.get("chosen"):
        yield Say("You chose: {words}", {"words": held["chosen"]})


def name(said: str | None = None) -> Flow:
    """NAME Asha, or NAME alone. On a shared phone another user's name hands it to her."""
    if said is None:
        said = yield PersonName(
            "name",
            "What name may we use? Or send SKIP.",
            within=timedelta(hours=24),
            optional=True,
        )
        if said is SILENCE:
            return
        if said is None:
            yield Say("OK, we leave it.")
            return
    kept = yield Do("keep_name", keep_name, {"name": said})
    yield Say("Thank you, {name}.", {"name": kept["name"]})


def lang(said: str | None = None) -> Flow:
    """LANG HI, LANG hindi, or LANG alone."""
    understood = yield Do("understood", understand_language, {"said": said})
    language = understood["language"]
    if language is None:
        language = yield LanguageChoice(
            "language",
            OwnWords("Language? / Idioma? / Bhasha?"),
            within=timedelta(hours=24),
            options={
                "en": OwnWords("English"),
                "es": OwnWords("Espanol"),
                "hi": OwnWords("Hindi (devanagari)"),
                "hi-Latn": OwnWords("Hindi (abc)"),
            },
        )
        if language is SILENCE:
            return
    yield Do("keep_language", keep_language, {"language": language})
    yield Say("OK. We write in English from now on.")
