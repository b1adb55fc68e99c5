"""What the host costs: CPU time of a message from Kafka to Kafka, with an engine that answers at once."""
