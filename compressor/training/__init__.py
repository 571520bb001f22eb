"""Training: optimiser, recovery, fine-tuning, cached activations."""
