"""Who they are: enrolled, searched, and what humans decide."""
