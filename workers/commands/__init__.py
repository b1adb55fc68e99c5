"""The commands of `weir`, one small file each: they read options, call the process that does the work, and print."""
