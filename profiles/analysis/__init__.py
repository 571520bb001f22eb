"""What a search, its answers and its costs say."""
