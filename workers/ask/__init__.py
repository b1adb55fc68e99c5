"""The Ask lane: verdicts over HTTP, by the same judgement as from Kafka."""
