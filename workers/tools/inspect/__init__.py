"""What a running or future application looks like from outside: check, top, trace, breakers."""
