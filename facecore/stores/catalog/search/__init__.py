"""Look-ups of one vector: among which faces, and how well the index answers."""
