"""What is done and what is to be done: shards, back-fills, where a listing stopped."""
