"""Benchmarks of the engine. Runs on a bare GPU machine, as the engine does."""
