"""Runs: their folders, what they say of themselves, and how an unfinished one is gone on with."""
