"""Forms in which others ask: each reads a body into items and writes answers in its own way."""
