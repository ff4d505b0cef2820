"""What pages and `facecore status` show, read at once."""
