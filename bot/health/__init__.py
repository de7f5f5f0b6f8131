"""How Chorus is doing: /healthz for whoever watches the processes, /metrics for Prometheus, and the checks of ``flask doctor``."""

from .web import blueprint

__all__ = ["blueprint"]
