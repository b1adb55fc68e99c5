"""Input of an audit: files and topics, and which event a row holds."""
