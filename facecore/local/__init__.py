"""The platform on one machine: PostgreSQL, S3, MLflow, Airflow from wheels, supervised."""
