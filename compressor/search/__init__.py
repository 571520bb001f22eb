"""Which layers to skip: strategies, scoring, budgets."""
