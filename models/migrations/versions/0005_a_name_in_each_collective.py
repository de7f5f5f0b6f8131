"""a collective knows a member by the name that she, or its own list, gave there

Only additions: the version before runs on these tables too. Names that are known go to the collective that had her first and to those she
joined herself; whose list gave them, nobody wrote down. All names are indexed anew by the clock (that is what people.names_indexed
is for): what was found by a name in one collective could be tried in another.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("memberships", sa.Column("name", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE memberships SET name = (SELECT people.name FROM people WHERE people.id = memberships.person_id)"
        " WHERE NOT EXISTS (SELECT 1 FROM memberships AS before"
        "  WHERE before.person_id = memberships.person_id AND before.id < memberships.id)"
        " OR EXISTS (SELECT 1 FROM consents WHERE consents.membership_id = memberships.id AND consents.kind = 'join')"
    )
    op.add_column("people", sa.Column("names_indexed", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.execute("DELETE FROM name_words")
    op.execute("UPDATE people SET name_indexed = false")
    op.drop_column("people", "names_indexed")
    op.drop_column("memberships", "name")
