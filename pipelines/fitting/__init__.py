"""What is judged in place of a conversation: pieces of one that is too long, parts of one that looks like more."""
