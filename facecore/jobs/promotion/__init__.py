"""A version comes into use, and back; faces and vectors follow it."""
