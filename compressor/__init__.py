"""The method and its data: models as lists of steps, search, surgery, recovery, checkpoints, tasks and data."""
