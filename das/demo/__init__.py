"""The demo: its models, its data, its story."""
