"""The job of a compression: its inputs opened and checked, then data and model."""
