"""What is said: message contracts, errors and codecs."""
