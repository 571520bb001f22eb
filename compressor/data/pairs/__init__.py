"""Texts and images that belong together, each of which has a vector of its own."""
