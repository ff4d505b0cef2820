"""Step 6: what is published, on a schedule or on demand."""
