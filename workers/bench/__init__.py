"""Figures that are printed by a command: ratios beside their baselines, and counts that must be nought."""
