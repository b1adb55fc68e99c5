"""Capacity: replicas, partitions, batch settings and cost for a load."""
