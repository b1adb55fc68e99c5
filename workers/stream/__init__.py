"""Kafka in, Kafka out: the only importer of kafka-python."""
