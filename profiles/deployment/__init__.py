"""The fastest way to run a model on this machine: of all that run here, and of the exports that a run has."""
