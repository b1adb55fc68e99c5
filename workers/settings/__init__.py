"""Every setting, where it is read from, and which do not go together."""
