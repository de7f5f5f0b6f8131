"""GET /healthz and GET /metrics. Both are open to whoever watches the processes, and say nothing about anybody."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, jsonify
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bot.deployment import Deployment
from bot.doors import open_to_all
from bot.health.checks import guarded, late_timers, redis_answers, stuck_lines
from bot.health.metrics import registry_of

blueprint = Blueprint("health", __name__)


def _deployment() -> Deployment:
    deployment: Deployment = current_app.extensions["chorus"]
    return deployment


@blueprint.get("/healthz")
@open_to_all("says only whether the parts run")
def healthz() -> tuple[Response, int]:
    """200 ok or degraded; 503 when the database is down or messages are due for over two minutes and nobody tries to send them.

    Redis down alone is 200 and degraded, also while messages wait for it: replies go on, and a restart of the web process would mend
    nothing.
    """
    deployment = _deployment()
    answers = redis_answers(deployment)
    stuck = guarded(lambda: stuck_lines(deployment, redis=answers))
    late = guarded(lambda: late_timers(deployment)) if stuck is not None else None
    if stuck is None:
        status = "down"
    elif stuck:
        status = "stuck"
    else:
        status = "ok" if answers and not late else "degraded"
    report: dict[str, Any] = {
        "status": status,
        "database": "down" if stuck is None else "ok",
        "redis": "ok" if answers else "down",
        "outbox": "unknown" if stuck is None else ("stuck" if stuck else "ok"),
        "timers": "unknown" if late is None else ("late" if late else "ok"),
    }
    response = jsonify(report)
    response.headers["Cache-Control"] = "no-store"
    return response, 200 if status in ("ok", "degraded") else 503


@blueprint.get("/metrics")
@open_to_all("counts, with no label that names anybody")
def metrics() -> Response:
    """Counts for Prometheus, from the database at this moment; 503 when it does not answer."""
    registry = registry_of(_deployment())
    if registry is None:
        return Response("# the database does not answer\n", 503, content_type="text/plain; charset=utf-8")
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})
