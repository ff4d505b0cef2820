"""Images, their near-duplicates, and those that wait in quarantine."""
