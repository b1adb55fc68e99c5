"""Input of an audit: files and topics, and what is an event in a row."""
