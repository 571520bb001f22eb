"""Analyses of a search, of its answers and of its costs."""
