"""Search for the layers to skip: strategies, scoring, budgets."""
