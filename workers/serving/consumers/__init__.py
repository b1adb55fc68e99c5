"""Replicas that consume: a worker's thread beside Serve's event loop."""
