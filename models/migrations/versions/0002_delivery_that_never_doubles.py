"""what delivery must remember: tries, look-ups, costs, holds, corrections, templates

Only additions, each nullable or with a default: the version before runs on these tables too.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "prices",
        sa.Column("channel", sa.String(length=10), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("channel", "country", name=op.f("pk_prices")),
    )
    op.create_table(
        "templates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("body", sa.String(length=1024), nullable=False),
        sa.Column("variables", sa.Integer(), nullable=False),
        sa.Column("content_sid", sa.String(length=34), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
        sa.UniqueConstraint("kind", "language", name=op.f("uq_templates_kind_language")),
    )
    op.create_table(
        "spending",
        sa.Column("collective_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("segments", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["collective_id"], ["collectives.id"], name=op.f("fk_spending_collective_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collective_id", "month", name=op.f("pk_spending")),
    )
    op.add_column("broadcasts", sa.Column("hold_reason", sa.String(length=16), nullable=True))
    op.add_column("broadcasts", sa.Column("hold_code", sa.Integer(), nullable=True))
    op.add_column("broadcasts", sa.Column("corrects_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.add_column("broadcasts", sa.Column("early", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("broadcasts", sa.Column("request_key", sa.String(length=64), nullable=True))
    op.add_column("broadcasts", sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_broadcasts_corrects_id"), "broadcasts", ["corrects_id"], unique=False)
    op.create_index("uq_broadcasts_request_key", "broadcasts", ["request_key"], unique=True)
    op.add_column("collectives", sa.Column("monthly_cap_micros", sa.BigInteger(), nullable=True))
    op.add_column("collectives", sa.Column("cool_down_seconds", sa.Integer(), server_default="20", nullable=False))
    op.add_column("inbound", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lines", sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lines", sa.Column("read_through", sa.DateTime(timezone=True), nullable=True))
    op.add_column("memberships", sa.Column("early_texts", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("memberships", sa.Column("sms_fallback", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("outbound", sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("outbound", sa.Column("check_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("outbound", sa.Column("checks", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("outbound", sa.Column("cost_micros", sa.BigInteger(), nullable=True))
    op.add_column("outbound", sa.Column("priced", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_outbound_at_carrier",
        "outbound",
        ["line_id", "accepted_at"],
        unique=False,
        postgresql_where=sa.text("state = 'accepted'"),
        sqlite_where=sa.text("state = 'accepted'"),
    )
    op.create_index(
        "ix_outbound_check",
        "outbound",
        ["check_at"],
        unique=False,
        postgresql_where=sa.text("check_at IS NOT NULL"),
        sqlite_where=sa.text("check_at IS NOT NULL"),
    )
    op.add_column("people", sa.Column("quiet_from", sa.Integer(), nullable=True))
    op.add_column("people", sa.Column("quiet_until", sa.Integer(), nullable=True))


def downgrade() -> None:
    for column in ("quiet_until", "quiet_from"):
        op.drop_column("people", column)
    op.drop_index("ix_outbound_check", table_name="outbound")
    op.drop_index("ix_outbound_at_carrier", table_name="outbound")
    for column in ("priced", "cost_micros", "checks", "check_at", "tries"):
        op.drop_column("outbound", column)
    for column in ("sms_fallback", "early_texts"):
        op.drop_column("memberships", column)
    for column in ("read_through", "proven_at"):
        op.drop_column("lines", column)
    op.drop_column("inbound", "sent_at")
    for column in ("cool_down_seconds", "monthly_cap_micros"):
        op.drop_column("collectives", column)
    op.drop_index("uq_broadcasts_request_key", table_name="broadcasts")
    op.drop_index("ix_broadcasts_corrects_id", table_name="broadcasts")
    for column in ("reported_at", "request_key", "early", "corrects_id", "hold_code", "hold_reason"):
        op.drop_column("broadcasts", column)
    for table in ("spending", "templates", "prices"):
        op.drop_table(table)
