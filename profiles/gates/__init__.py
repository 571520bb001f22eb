"""Claims, baselines and budgets that fail a pipeline."""
