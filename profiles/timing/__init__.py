"""Latency: of models, of layers, over sweeps."""
