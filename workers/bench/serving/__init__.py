"""Load on real Serve replicas: latency, batch sizes, background work beside live."""
