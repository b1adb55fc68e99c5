"""What the lanes beside live traffic share."""
