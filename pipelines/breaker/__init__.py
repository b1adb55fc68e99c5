"""The breaker: when outcomes have gone wrong, and holding them back is better than publishing them."""
