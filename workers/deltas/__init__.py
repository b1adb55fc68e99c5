"""The Kafka door of the stream guard: turns arrive in deltas on one topic, and what they are goes to another."""
