"""Operators' tools over topics and running applications."""
