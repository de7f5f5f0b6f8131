"""A visitor of the console in tests: a browser without a screen, logged in as somebody, that sends forms as the pages do."""

from __future__ import annotations

from typing import Any

import pyotp
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from bot.console.sessions import COOKIE, csrf_of, open_session, prove
from models import Membership, SecondFactor, WebSession
from tests.world import World

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


class Visitor:
    """One browser. ``membership``: who is logged in (None: nobody); ``proven``: a code of her app was given a moment ago."""

    def __init__(
        self, world: World, membership: int | None = None, *, word: str = "sangha", proven: bool = False, language: str = "en"
    ) -> None:
        self.world, self.word = world, word
        self.client: FlaskClient = world.app.test_client()
        self.csrf = ""
        self.client.set_cookie("chorus_language", language, path="/console")
        if membership is not None:
            with world.store.write() as session:
                person = session.scalars(sa.select(Membership.person_id).where(Membership.id == membership)).one()
                token = open_session(world.store, session, world.clock.now(), person, "Firefox on Linux")
                session.flush()
                if proven:
                    newest = session.scalars(sa.select(sa.func.max(WebSession.id))).one()
                    prove(session, world.clock.now(), newest, membership)
            self.client.set_cookie(COOKIE, token, path="/console")
            self.csrf = csrf_of(world.store, token)

    def path(self, path: str) -> str:
        """``/notes`` means the collective's; what begins with /console stands as it is."""
        return path if path.startswith("/console") else f"/console/{self.word}{path}"

    def get(self, path: str, **named: Any) -> TestResponse:
        return self.client.get(self.path(path), **named)

    def post(self, path: str, fields: dict[str, Any] | None = None, **named: Any) -> TestResponse:
        """Send a form with this session's token."""
        return self.client.post(self.path(path), data={"csrf": self.csrf} | (fields or {}), **named)

    def text(self, path: str) -> str:
        """The page as HTML; it must be there."""
        response = self.get(path)
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return response.text


def give_factor(world: World, membership: int) -> None:
    """Her app is set up, and counts."""
    with world.store.write() as session:
        session.add(SecondFactor(membership_id=membership, secret=SECRET))


def code_now(world: World) -> str:
    """What her app shows at this moment."""
    return pyotp.TOTP(SECRET).at(int(world.clock.now().timestamp()))
