"""Labelled files in, prediction files out: what `weir eval` reads and writes."""
