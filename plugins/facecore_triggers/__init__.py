"""Triggers of facecore. In the plugins folder, because every Airflow process can import from it."""
