"""Check this machine, and estimate what a model takes."""
