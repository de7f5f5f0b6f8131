"""A poster to print: how to join, by SMS and by WhatsApp, with the words that consent needs, in the language of whoever reads it."""

from __future__ import annotations

import io

import segno
import sqlalchemy as sa
from flask import request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from bot.console import words
from bot.console.blueprint import page
from bot.console.views import deployment, language, place, show
from bot.members.joining import Way, way_to_join
from models import Collective, CollectiveLine, Line


@page("/<word>/poster")
def poster() -> ResponseReturnValue:
    """One page of paper. ``in``: its language, which need not be the page's."""
    chosen = request.args.get("in", "")
    chosen = chosen if chosen in words.LANGUAGES else language()
    with deployment().store.read() as session:
        collective = session.get_one(Collective, place().collective_id)
        addresses = session.scalars(
            sa.select(Line.address)
            .join(CollectiveLine, CollectiveLine.line_id == Line.id)
            .where(CollectiveLine.collective_id == collective.id, Line.two_way)
            .order_by(CollectiveLine.position)
        ).all()
    first: dict[str, Way] = {}
    for address in addresses:
        way = way_to_join(address, collective.word)
        if way is not None:
            first.setdefault(way.channel, way)
    ways = [(way, draw(way.link)) for way in first.values()]
    about = deployment().settings.public_url + (f"/about/{collective.word}" if collective.public else "/terms")
    return show(
        "poster.html", ways=ways, collective=collective, chosen=chosen, about=about, join=f"JOIN {collective.word.upper()}",
        in_chosen=lambda text, **values: words.say(chosen, text, **values),
    )  # fmt: skip


def draw(link: str) -> Markup:
    """A link as a picture, without a style of its own."""
    picture = io.BytesIO()
    segno.make(link, error="m", micro=False).save(
        picture, kind="svg", scale=6, border=3, xmldecl=False, svgclass=None, lineclass=None, dark="#000", light="#fff", omitsize=True
    )
    return Markup(picture.getvalue().decode())
