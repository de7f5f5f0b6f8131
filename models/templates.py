"""WhatsApp's approved templates: the only words that may begin a talk there after 24 hours of silence."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, BigId, Moment

# submitted: Meta looks at it; paused and disabled: Meta's own, because people complained.
APPROVED = "approved"
TEMPLATE_STATES = ("draft", "submitted", APPROVED, "rejected", "paused", "disabled")


class Template(Base):
    """One template in one language, as Twilio's Content API knows it. Templates belong to the account, not to a collective."""

    __tablename__ = "templates"
    __table_args__ = (UniqueConstraint("kind", "language"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    # knock (a note is waiting) is the one that delivery uses; others may be added by whoever runs the deployment.
    kind: Mapped[str] = mapped_column(String(16))
    language: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(60))
    # Public words, with {{1}} for what is filled in; no one's message ever stands here.
    body: Mapped[str] = mapped_column(String(1024))
    variables: Mapped[int] = mapped_column(default=0)
    content_sid: Mapped[str | None] = mapped_column(String(34))
    state: Mapped[str] = mapped_column(String(10), default="draft")
    reason: Mapped[str | None] = mapped_column(String(200))
    changed_at: Mapped[datetime] = mapped_column(Moment)
