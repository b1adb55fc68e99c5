"""What is decided: rendering, parsing, policy, order, retry. No client library."""
