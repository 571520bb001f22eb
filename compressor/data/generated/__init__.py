"""Data made on the spot in the public format of a task, one file for each: for the demo, tests and benchmarks."""
