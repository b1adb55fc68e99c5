"""The shadow lane: a candidate judges a share of live traffic and decides nothing."""
