"""`flask talk FLOW`: the conversation in the terminal, before any account, line or database exists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from bot.conversation.engine import Heard, Session, advance, examples_of
from bot.conversation.steps import Do, Hearing
from bot.languages import LANGUAGES, words


@click.command("talk")
@click.argument("flow")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="the language it speaks")
@click.option("--outcomes", is_flag=True, help="ask me what each action gave back, instead of taking its first example")
def talk(flow: str, language: str, outcomes: bool) -> None:
    """Hold the conversation of FLOW here. Nothing is stored or sent; actions give back the examples they declare.

    An empty line is silence (the question's patience runs out); Ctrl-D ends it.
    """
    from flows import FLOWS

    entry = FLOWS.get(flow) or FLOWS.get(flow + "_")
    if entry is None:
        click.echo(f"There is no flow {flow!r}. The flows: {', '.join(sorted(FLOWS))}", err=True)
        raise SystemExit(2)
    session = Session(dict(entry.example))

    def act(step: Do) -> Any:
        examples = examples_of(step, language)
        chosen = 0
        if outcomes and len(examples) > 1:
            for index, example in enumerate(examples):
                click.echo(click.style(f"  {index}: {example}", dim=True))
            chosen = click.prompt(
                click.style(f"  what does {step.name!r} give back?", dim=True), type=click.IntRange(0, len(examples) - 1), default=0
            )
        click.echo(click.style(f"  [{step.name}: {examples[chosen]}]", dim=True))
        return examples[chosen]

    heard = None
    while True:
        outcome = advance(entry.function, session, act, Hearing(language, datetime.now(UTC)), heard)
        if outcome.hint is not None:
            said = [words(language, outcome.hint.hint, **outcome.hint.fill)]
        else:
            said = [words(language, "OK, we leave it.")] if outcome.left else outcome.render(language)
        for line in "\n".join(said).splitlines():
            click.echo(click.style("bot: ", fg="green") + line)
        if outcome.waiting is None:
            return
        try:
            text = click.prompt(click.style("you", fg="cyan"), prompt_suffix=": ", default="", show_default=False)
        except click.Abort:
            click.echo()
            return
        heard = Heard(text or None, outcome.waiting.name)


commands = (talk,)

if __name__ == "__main__":  # python -m bot.commands.talk check_in: without any setting at all
    talk()
