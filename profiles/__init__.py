"""Measuring: MACs, latency, memory, and the reports that carry them."""
