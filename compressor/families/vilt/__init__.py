"""ViLT: its model, its checkpoints, its declaration."""
