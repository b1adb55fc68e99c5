"""The metrics that Weir publishes, each defined once."""
