"""Steps 1 and 2: deliveries → images, accepted or in the quarantine."""
