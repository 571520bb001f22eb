"""Runs on public data sets."""
