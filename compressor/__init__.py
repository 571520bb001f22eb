"""What DAS is: models as lists of steps, search, surgery, recovery, checkpoints, tasks and data."""
