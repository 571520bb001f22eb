"""The ways in which data lies on disk, one file for each."""
