"""Throughput of the stream worker, beside a bare kafka-python loop and other stream processors."""
