"""Search strategies compared."""
