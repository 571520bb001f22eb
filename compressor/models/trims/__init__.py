"""Exact trims: what no output depends on is not computed."""
