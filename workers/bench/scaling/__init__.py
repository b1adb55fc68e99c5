"""Autoscaling policies in a simulated week, and on Ray Serve."""
