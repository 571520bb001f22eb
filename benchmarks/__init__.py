"""Scripts that produce docs/results.md."""
