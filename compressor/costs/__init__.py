"""Costs of a model: MACs, parameters and bytes, of the whole and of its parts."""
