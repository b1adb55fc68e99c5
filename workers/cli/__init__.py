"""The command line: options in, one call, printing out."""
