"""Models that analyse: anomaly scores of faces, forecasts of activity and their flags.

Revision ID: 0007
"""

from importlib.resources import files

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the SQL beside this file is the readable definition."""
    sql = files("facecore.stores.migrations.versions") / "v0007_analysis.sql"
    # Through the driver's own cursor: the text has % signs that are no parameters.
    op.get_bind().connection.cursor().execute(sql.read_text("utf-8"))


def downgrade() -> None:
    """Refuse: scores and forecasts are kept. The way back is the backup."""
    raise RuntimeError("this revision cannot be undone; restore the backup instead")
