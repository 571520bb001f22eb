"""Runtimes and graphs timed."""
