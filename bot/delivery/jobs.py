"""The one job of the queue. It takes no arguments and carries no state: "serve the lines that have due work"."""

from __future__ import annotations

import logging
import threading

from bot.crashpoints import crashpoint
from bot.delivery.bell import bell_of
from bot.delivery.gateway import Gateway
from bot.delivery.leases import is_anything_waiting
from bot.delivery.pump import MOST_IN_FLIGHT, Memory, serve_lines
from bot.deployment import Deployment, open_deployment

log = logging.getLogger(__name__)


class Duty:
    """What a worker process keeps from job to job.

    Its deployment, its connections to Twilio, what it knows of its lines, and whether it was asked to stop.
    """

    def __init__(self, deployment: Deployment, stop: threading.Event) -> None:
        self.deployment = deployment
        self.stop = stop
        self.gateway = Gateway(deployment.settings, connections=MOST_IN_FLIGHT)
        self.memory = Memory()


_duty: Duty | None = None
_opening = threading.Lock()


def take_duty(deployment: Deployment, stop: threading.Event) -> None:
    """Say with what this process answers the bell (``worker.py``)."""
    global _duty
    _duty = Duty(deployment, stop)


def serve() -> int:
    """Answer the bell: send what is due, for about ten seconds; rings again when there is more. Returns how many were handed over."""
    global _duty
    with _opening:
        if _duty is None:  # started by plain ``rq worker``
            _duty = Duty(open_deployment(), threading.Event())
    duty = _duty
    bell = bell_of(duty.deployment)
    bell.answer()
    crashpoint("bell.answered")
    sent = serve_lines(duty.deployment, duty.gateway, duty.stop, memory=duty.memory)
    with duty.deployment.store.read() as session:
        if is_anything_waiting(session, duty.deployment.clock.now()):
            bell.ring()
    return sent
