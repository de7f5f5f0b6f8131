"""A carrier's list in the process: what it shows is written by the test."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.delivery.carrier_list import Listed, Listing, ListUnread
from tests.world import World, new_sid

LINE = "+15550001111"


class ScriptedList:
    """A list whose clock is the world's, and which may refuse (``unread``: the reason) or lag behind people's time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.messages: list[Listed] = []
        self.unread: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.most: int | None = None

    def add(self, to: str, body: str, *, at: datetime | None = None, sender: str = LINE, **values: Any) -> Listed:
        """One message made at ``at`` (else now), to the whole second as Twilio writes it."""
        moment = (at or self.world.clock.now()).astimezone(UTC).replace(microsecond=0)
        told = {"direction": "outbound-api", "status": "sent", "error_code": None, "sent_at": moment, "segments": 1, "price_micros": None}
        message = Listed(sid=new_sid(), to=to, sender=sender, body=body, created_at=moment, **(told | values))
        self.messages.append(message)
        return message

    def hear(self, number: str, body: str, *, at: datetime | None = None, to: str = LINE, **values: Any) -> Listed:
        """One message that a phone sent to a line."""
        return self.add(to, body, at=at, sender=number, direction="inbound", status="received", **values)

    def list_messages(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        sent_after: datetime | None = None,
        sent_before: datetime | None = None,
        most: int = 1000,
    ) -> Listing:
        self.asked.append({"to": to, "sender": sender, "sent_after": sent_after, "sent_before": sent_before})
        if self.unread is not None:
            raise ListUnread(self.unread)
        fitting = [
            each
            for each in self.messages
            if (to is None or each.to == to)
            and (sender is None or each.sender == sender)
            and (sent_after is None or (each.sent_at is not None and each.sent_at >= sent_after))
            and (sent_before is None or (each.sent_at is not None and each.sent_at <= sent_before))
        ]
        fitting.sort(key=lambda each: each.created_at, reverse=True)
        most = min(most, self.most or most)
        return Listing(fitting[:most], self.world.clock.now(), is_whole=len(fitting) <= most)
