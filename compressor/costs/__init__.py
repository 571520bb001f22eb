"""What a model costs: MACs, parameters and bytes, of the whole and of its parts."""
