"""The demo: an embedded broker, a corpus of made-up words and the tiny model that was trained on it."""
