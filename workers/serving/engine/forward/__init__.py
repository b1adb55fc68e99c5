"""One model's forward over what prompts do not share: rows, attention, caches, and how passes run fast."""
