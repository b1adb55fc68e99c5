"""The commands `weir audit …`."""
