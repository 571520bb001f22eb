"""METER: its model, its checkpoints, its declaration."""
