"""The commands `weir dlq …`."""
