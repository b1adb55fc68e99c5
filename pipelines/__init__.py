"""What is decided: rendering, parsing, policy, order, retry. Pure judgement, no client library."""
