"""The report of an audit: one page, drawn from a run's output."""
