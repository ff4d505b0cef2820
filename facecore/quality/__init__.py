"""The gate over measured images: expectations, verdicts, Data Docs."""
