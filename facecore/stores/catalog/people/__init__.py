"""People, whose each face is, and what humans decided about it."""
