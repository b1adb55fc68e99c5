"""Weir beside other stream processors: their environments, their programs, their runs, and what came out."""
