"""What every DAG file shares: assets, task defaults, lineage."""
