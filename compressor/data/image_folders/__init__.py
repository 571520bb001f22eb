"""Images in folders, without a table."""
