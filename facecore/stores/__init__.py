"""The only network and database I/O: objects (S3), catalogue (PostgreSQL), registry (MLflow)."""
