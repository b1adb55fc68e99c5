"""What Weir measures: one table of metrics, and the instruments made from it. OpenTelemetry API only."""
