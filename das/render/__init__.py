"""Values drawn in a terminal."""
