"""Traces, metrics and logs, without message text or model output."""
