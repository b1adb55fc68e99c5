"""How `weir` finds its commands: by name, each imported when it is called."""
