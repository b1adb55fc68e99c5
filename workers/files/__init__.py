"""Rows of files in all the forms that people keep them in, read whole or refused by name."""
