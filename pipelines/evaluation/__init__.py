"""How well a guard judges: figures over labelled examples. Pure statistics; judges nothing and reads no files."""
