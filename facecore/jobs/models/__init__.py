"""What is registered, and what is in use."""
