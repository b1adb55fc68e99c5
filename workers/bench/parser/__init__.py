"""The parser against outputs made from the grammar and broken at random."""
