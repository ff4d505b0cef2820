"""The platform as a whole: made ready, started, looked at."""
