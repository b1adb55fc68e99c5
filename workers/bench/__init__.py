"""Benchmarks, each beside its baseline. Nothing of the product imports them."""
