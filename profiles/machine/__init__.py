"""The machine: what it is, what it did meanwhile, memory, energy."""
