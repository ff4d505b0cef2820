"""Faces, their vectors and the index of them."""
