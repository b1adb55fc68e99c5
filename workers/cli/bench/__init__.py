"""The commands `weir bench …`."""
