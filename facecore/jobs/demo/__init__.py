"""`make demo`: the main job as a user would run it."""
