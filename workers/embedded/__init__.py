"""What the one-command demo carries with it: a broker in the process, a synthetic corpus and a tiny model."""
