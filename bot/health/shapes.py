"""Metric families in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(name, meaning, value=value)


def labelled(name: str, meaning: str, labels: Sequence[str], values: Mapping[Any, float]) -> GaugeMetricFamily:
    """One number for each combination of labels."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
