"""A turn that arrives in pieces: what of it is known, what is asked about it, and what is said of it."""
