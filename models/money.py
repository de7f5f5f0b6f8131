"""What messages cost: the price table, and what each collective spent in a month."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment


class Price(Base):
    """What one segment (SMS) or one message (WhatsApp) costs to a country, in millionths; country "" is everywhere else."""

    __tablename__ = "prices"

    channel: Mapped[str] = mapped_column(String(10), primary_key=True)
    country: Mapped[str] = mapped_column(String(2), primary_key=True)
    micros: Mapped[int] = mapped_column(BigInteger)
    changed_at: Mapped[datetime] = mapped_column(Moment)


class Spending(Base):
    """What a collective's outbound messages cost in one month (UTC, "2026-11"). Outbound rows go after their retention; this stays."""

    __tablename__ = "spending"

    collective_id: Mapped[int] = mapped_column(BigId, ForeignKey("collectives.id", ondelete="CASCADE"), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    micros: Mapped[int] = mapped_column(BigInteger, default=0)
    segments: Mapped[int] = mapped_column(BigInteger, default=0)
    messages: Mapped[int] = mapped_column(BigInteger, default=0)
    warned_at: Mapped[datetime | None] = mapped_column(Moment)
