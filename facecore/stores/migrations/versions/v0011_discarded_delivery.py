"""Deliveries of what was discarded.

Revision ID: 0011
"""

from importlib.resources import files

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the SQL beside this file is the readable definition."""
    sql = files("facecore.stores.migrations.versions") / "v0011_discarded_delivery.sql"
    # Through the driver's own cursor: the text has % signs that are no parameters.
    op.get_bind().connection.cursor().execute(sql.read_text("utf-8"))


def downgrade() -> None:
    """Refuse: what was in use is kept. The way back is the backup."""
    raise RuntimeError("this revision cannot be undone; restore the backup instead")
