"""Alerts: what a person should look at, one open per kind and subject.

Revision ID: 0003
"""

from importlib.resources import files

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the SQL beside this file is the readable definition."""
    sql = files("facecore.stores.migrations.versions") / "v0003_alerts.sql"
    # Through the driver's own cursor: the text has % signs that are no parameters.
    op.get_bind().connection.cursor().execute(sql.read_text("utf-8"))


def downgrade() -> None:
    """Refuse: alerts that were acknowledged are kept. The way back is the backup."""
    raise RuntimeError("this revision cannot be undone; restore the backup instead")
