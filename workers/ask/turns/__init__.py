"""Answers judged while they are written, over HTTP and WebSocket; the frames and the turns are those of Kafka."""
