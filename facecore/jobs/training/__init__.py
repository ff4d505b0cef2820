"""Models made from snapshots, and measured."""
