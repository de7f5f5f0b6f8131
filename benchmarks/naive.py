"""The script most people write first: one RQ job for each recipient, the twilio client made in the job."""

from __future__ import annotations

from benchmarks import client


def send(number: str) -> None:
    """The job."""
    client.send(client.make_client(), number)
