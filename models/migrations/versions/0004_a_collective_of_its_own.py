"""whose number change it is, with which app's code a session proved itself, weeks of care as they were shown first, a corrected hour

Only additions, each nullable: the version before runs on these tables too. A change of number that is under way belongs to the collective
of whoever booked it. A code for logging in is made by a worker; another app for one-time codes waits beside the one before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "care_weeks",
        sa.Column("collective_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("begins", sa.Date(), nullable=False),
        sa.Column("shown", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["collective_id"], ["collectives.id"], name=op.f("fk_care_weeks_collective_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collective_id", "begins", name=op.f("pk_care_weeks")),
    )
    op.add_column("broadcasts", sa.Column("starts_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("number_changes", sa.Column("collective_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.execute(
        "UPDATE number_changes SET collective_id ="
        " (SELECT memberships.collective_id FROM memberships WHERE memberships.id = number_changes.asked_by)"
    )
    op.add_column("login_codes", sa.Column("seed", sa.LargeBinary(length=16), nullable=True))
    waiting = sa.text("seed IS NOT NULL")
    op.create_index("ix_login_codes_waiting", "login_codes", ["id"], postgresql_where=waiting, sqlite_where=waiting)
    op.add_column("second_factors", sa.Column("next_secret", sa.LargeBinary(), nullable=True))
    op.add_column("second_factors", sa.Column("next_from", sa.DateTime(timezone=True), nullable=True))
    op.add_column("web_sessions", sa.Column("proven_for", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))


def downgrade() -> None:
    op.drop_column("web_sessions", "proven_for")
    op.drop_column("second_factors", "next_from")
    op.drop_column("second_factors", "next_secret")
    op.drop_index("ix_login_codes_waiting", "login_codes")
    op.drop_column("login_codes", "seed")
    op.drop_column("number_changes", "collective_id")
    op.drop_column("broadcasts", "starts_at")
    op.drop_table("care_weeks")
