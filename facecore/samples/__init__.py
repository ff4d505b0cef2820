"""Images whose truth is known."""
