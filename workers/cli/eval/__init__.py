"""The commands `weir eval …`."""
