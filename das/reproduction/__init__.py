"""Tables of the paper, run on a user's checkpoint and data."""
