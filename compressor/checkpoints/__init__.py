"""Checkpoint files: read safely, built into models, written."""
