"""Answers that arrive in deltas, as lines of JSON."""
