"""A turn that is judged while it is written: the frames it arrives in, and what is said of it."""
