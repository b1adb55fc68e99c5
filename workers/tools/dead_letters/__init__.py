"""Dead letters: read, put back, deleted for good."""
