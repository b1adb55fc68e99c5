"""kafka-python, and all that we know of its inside. No other room imports it."""
