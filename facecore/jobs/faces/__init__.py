"""Steps 3 to 5: images → faces, vectors, known and proposed people; the index over them."""
