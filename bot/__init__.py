"""Chorus: a text-message home for collectives. ``create_app`` is the table of contents."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from bot.deployment import Deployment


def create_app(deployment: Deployment | None = None) -> Flask:
    """Join the parts into one web application. Raises SettingsRefused when the environment is not fit to start with.

    The parts are imported inside: ``import flows`` at module level would be circular.
    """
    from flask import Flask

    from bot import commands, console, health, inbound, public
    from bot.deployment import open_deployment
    from bot.doors import NoSessions

    app = Flask("chorus", static_folder=None)
    deployment = deployment or open_deployment()
    app.config.update(SECRET_KEY=deployment.settings.secret_key, MAX_CONTENT_LENGTH=256 * 1024, SESSION_COOKIE_SAMESITE="Lax")
    app.session_interface = NoSessions()
    app.extensions["chorus"] = deployment
    app.register_blueprint(inbound.blueprint)  # Twilio's doors: signature first
    if deployment.settings.has_simulator:
        app.register_blueprint(inbound.clock_door)  # the simulator may jump in time
    app.register_blueprint(health.blueprint)  # /healthz and /metrics
    app.register_blueprint(console.blueprint)  # organizers' pages
    app.register_blueprint(public.blueprint)  # /about, /privacy, /terms
    commands.register(app)  # flask …
    if deployment.settings.trusted_proxies:
        _believe_proxies(app, deployment.settings.trusted_proxies)
    return app


def _believe_proxies(app: Flask, number: int) -> None:
    """Whoever asks is whom the outermost of our proxies saw. Nothing else is taken from them: Twilio's signatures cover PUBLIC_URL."""
    from werkzeug.middleware.proxy_fix import ProxyFix

    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=0, x_host=0, x_port=0, x_prefix=0)  # type: ignore[method-assign]
