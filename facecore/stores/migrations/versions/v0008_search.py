"""What the index of vectors finds, measured beside an exact search.

Revision ID: 0008
"""

from importlib.resources import files

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the SQL beside this file is the readable definition."""
    sql = files("facecore.stores.migrations.versions") / "v0008_search.sql"
    # Through the driver's own cursor: the text has % signs that are no parameters.
    op.get_bind().connection.cursor().execute(sql.read_text("utf-8"))


def downgrade() -> None:
    """Refuse: measurements are kept. The way back is the backup."""
    raise RuntimeError("this revision cannot be undone; restore the backup instead")
