"""Model versions, the pair in use, promotions and what they compare."""
