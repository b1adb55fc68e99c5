"""Putting dead letters back where they came from."""
