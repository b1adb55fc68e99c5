"""What `workers.serving.engine.stream_guard` is made of: text, sessions, pages and the steps that fill them."""
