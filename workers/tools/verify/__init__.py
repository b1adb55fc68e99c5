"""Proof from the topics that nothing was lost, doubled unequally or reordered."""
