"""kafka-python, and all that we know of its inside. Nothing else here imports it."""
