"""The record's way through a worker: polled, judged, published, committed."""
