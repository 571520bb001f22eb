"""The parts of a model that costs are broken down into."""

PROLOGUE, BRIDGES, HEAD = "prologue", "bridges", "head"
PARALLEL, SKIP = "parallel-adapters", "skip-adapters"
