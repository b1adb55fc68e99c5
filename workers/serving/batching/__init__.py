"""Batches of what waits for an engine, by lanes."""
